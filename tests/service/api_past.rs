//! Resources as they were, and what attempts went by.

use aggregates::attempt_outcome::Outcome;
use aggregates::destination::{Destination, DestinationCommand};
use aggregates::ids::TenantId;
use aggregates::tenant::{Tenant, TenantCommand, WebhookSecret};
use chrono::{DateTime, TimeDelta, Utc};
use hooksentry::clock;
use hooksentry::event_store::Metadata;
use hooksentry::secrets::token::fingerprint;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::api::{Api, send};
use crate::harness::events::{SettingsUsed, accept, attempt, attempt_by, until_listed};
use crate::harness::tenant::User;
use crate::harness::until;

fn written(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// When each fact of a stream was recorded, as a history shows it.
async fn recorded(user: &User, id: &str) -> Vec<String> {
    let times: Vec<DateTime<Utc>> =
        sqlx::query_scalar("SELECT recorded_at FROM events WHERE aggregate_id = $1 ORDER BY sequence")
            .bind(id)
            .fetch_all(user.api.log().await.pool())
            .await
            .expect("the log");
    times.into_iter().map(written).collect()
}

/// What the log's clock shows, once it shows something later than before.
async fn now(user: &User) -> String {
    let log = user.api.log().await;
    let read = async || -> DateTime<Utc> {
        sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(log.pool()).await.expect("the log's clock")
    };
    let first = written(read().await);
    until("the clock to go on", async || Some(written(read().await)).filter(|now| *now > first)).await
}

fn metadata(user: &User) -> Metadata {
    Metadata::of_role(TenantId(user.tenant_id.parse().expect("an id")), "tests")
}

/// A resource after each of several steps, with a time between that step and the next.
struct Story<'a> {
    user: &'a User,
    path: String,
    seen: Vec<(String, Value)>,
}

impl<'a> Story<'a> {
    fn of(user: &'a User, path: String) -> Self {
        Self { user, path, seen: vec![] }
    }

    async fn look(&mut self) {
        let shown = self.user.get(&self.path).await.expect(200).body;
        self.seen.push((now(self.user).await, shown));
    }

    /// The past shows at each of those times what was seen then.
    async fn stays_remembered(self) {
        assert!(self.seen.len() > 2);
        for (time, seen) in &self.seen {
            for parameter in ["AsOf", "asof", "ASOF"] {
                let past = self.user.get(&format!("{}?{parameter}={time}", self.path)).await.expect(200).body;
                assert_eq!(past, *seen, "{} as of {time}", self.path);
            }
        }
        let (_, last) = &self.seen[self.seen.len() - 1];
        let now = now(self.user).await;
        let past = self.user.get(&format!("{}?AsOf={now}", self.path)).await.expect(200).body;
        assert_eq!((&past, &self.user.get(&self.path).await.expect(200).body), (last, last));
    }
}

#[tokio::test]
async fn a_destination_is_shown_as_it_was() {
    let owner = User::owner(&Api::shared().await).await;
    let (id, _) = owner.destination().await;
    let path = format!("/api/v1/destinations/{id}");
    let mut story = Story::of(&owner, path.clone());
    story.look().await;
    for change in [
        json!({ "url": "https://other.example.com/hooks", "serverRateLimit": 9 }),
        json!({ "status": "inactive" }),
        json!({ "authType": "BearerToken", "credentials": { "token": "a secret token" } }),
        json!({ "status": "active" }),
        json!({ "removeAuth": true }),
    ] {
        owner.patch(&path, &change).await.expect(200);
        story.look().await;
    }
    owner.call(&format!("{path}/ingest-token")).await.expect(200);
    story.look().await;
    story.stays_remembered().await;

    let times = recorded(&owner, &id).await;
    // The time of a fact is a time at which it is there: two facts of one change may share it.
    let urls: Vec<Value> = {
        let mut urls = vec![];
        for time in &times {
            urls.push(owner.get(&format!("{path}?AsOf={time}")).await.expect(200).body["url"].clone());
        }
        urls
    };
    assert_eq!(urls[0], "https://receiver.example.com/hooks");
    assert!(urls[1..].iter().all(|url| url == "https://other.example.com/hooks"), "{urls:?}");
    let text = owner.get(&format!("{path}?AsOf={}", times[times.len() - 1])).await.expect(200).text;
    assert!(!text.contains("dst_") && !text.contains("a secret token"), "{text}");
}

#[tokio::test]
async fn an_event_is_shown_as_it_was_with_the_breaker_of_that_time() {
    let owner = User::owner(&Api::shared().await).await;
    let (key, (destination, token)) = (owner.api_key().await, owner.destination().await);
    let id = accept(&owner, &key, &token).await;
    let mut story = Story::of(&owner, format!("/api/v1/events/{id}"));
    story.look().await;
    attempt(&owner, &id, Outcome::Timeout, 2).await;
    until_listed(&owner, &id, "WaitingRetry").await;
    story.look().await;
    let log = owner.api.log().await;
    let suspend =
        DestinationCommand::Suspend { consecutive_failures: 5, timer_seconds: 3_600, at: clock::now() };
    log.execute::<Destination>(destination.parse().unwrap(), suspend, &metadata(&owner)).await.unwrap();
    let put_off = story.seen[1].1["nextAttemptAt"].clone();
    until("the breaker to show", async || {
        let event = owner.get(&format!("/api/v1/events/{id}")).await.expect(200).body;
        (event["nextAttemptAt"] != put_off).then_some(())
    })
    .await;
    story.look().await;
    attempt(&owner, &id, Outcome::Timeout, 2).await;
    until_listed(&owner, &id, "CriticalFailure").await;
    story.look().await;
    owner.call(&format!("/api/v1/events/{id}/replay")).await.expect(200);
    story.look().await;
    attempt(&owner, &id, Outcome::Succeeded, 2).await;
    until_listed(&owner, &id, "Succeeded").await;
    story.look().await;
    story.stays_remembered().await;

    // The times that a history shows, given back, show what was so far.
    let history = owner.get(&format!("/api/v1/events/{id}/history")).await.expect(200).body;
    let facts = history["items"].as_array().unwrap();
    for (index, fact) in facts.iter().enumerate() {
        let time = fact["time"].as_str().unwrap();
        let past = owner.get(&format!("/api/v1/events/{id}?AsOf={time}")).await.expect(200).body;
        // Of facts that share a time the last one counts.
        let last = facts.iter().rposition(|other| other["time"] == *time).unwrap();
        assert!(last >= index);
        let status = match facts[last]["type"].as_str().unwrap() {
            "EventAccepted" | "Replayed" => "Pending",
            "DeliveryStarted" => "Processing",
            "RetryScheduled" => "WaitingRetry",
            "DeliveryAttempted" if facts[last]["data"]["report"]["outcome"] == "succeeded" => "Succeeded",
            "DeliveryAttempted" => "Failed",
            other => other,
        };
        assert_eq!(past["status"], status, "as of {time}");
    }
}

#[tokio::test]
async fn a_sender_is_shown_as_it_was_until_it_was_deleted() {
    let owner = User::owner(&Api::shared().await).await;
    let (destination, _) = owner.destination().await;
    let (id, _) = owner.sender(&destination).await;
    let path = format!("/api/v1/senders/{id}");
    let mut story = Story::of(&owner, path.clone());
    story.look().await;
    owner.post(&format!("{path}/mapping"), &json!({ "a": "b" })).await.expect(200);
    story.look().await;
    owner.delete(&format!("{path}/mapping")).await.expect(204);
    story.look().await;
    let seen = story.seen.clone();
    story.stays_remembered().await;
    owner.delete(&path).await.expect(204);
    for (time, sender) in seen {
        assert_eq!(owner.get(&format!("{path}?AsOf={time}")).await.expect(200).body, sender);
    }
    owner.get(&path).await.expect(404);
    let gone = owner.get(&format!("{path}?AsOf={}", now(&owner).await)).await.expect(404);
    assert!(gone.text_of("detail").contains("was deleted by"), "{}", gone.text);
}

#[tokio::test]
async fn the_past_is_as_closed_as_the_present_and_the_future_is_unknown() {
    let owner = User::owner(&Api::shared().await).await;
    let stranger = User::owner(&Api::shared().await).await;
    let viewer = owner.colleague("Viewer").await;
    let before = now(&owner).await;
    let (key, (destination, token)) = (owner.api_key().await, owner.destination().await);
    let (sender, _) = owner.sender(&destination).await;
    let event = accept(&owner, &key, &token).await;
    let now = now(&owner).await;
    for (path, thing) in [
        (format!("/api/v1/destinations/{destination}"), "destination"),
        (format!("/api/v1/senders/{sender}"), "sender"),
        (format!("/api/v1/events/{event}"), "event"),
    ] {
        viewer.get(&format!("{path}?AsOf={now}")).await.expect(200);
        let early = owner.get(&format!("{path}?AsOf={before}")).await.expect(404);
        assert_eq!(early.text_of("detail"), format!("The {thing} did not exist yet at {before}."));
        owner.get(&format!("{path}?AsOf=0001-01-01")).await.expect(404);
        for query in [format!("AsOf={now}"), "AsOf=yesterday".to_owned()] {
            assert_eq!(
                stranger.get(&format!("{path}?{query}")).await.expect(403).problem(),
                stranger.get(&path).await.expect(403).problem()
            );
            let unknown = path.rsplit_once('/').unwrap().0;
            owner.get(&format!("{unknown}/{}?{query}", Uuid::from_u128(7))).await.expect(404);
            owner.get(&format!("{unknown}/nothing?{query}")).await.expect(404);
            send(owner.api.request("GET", &format!("{path}?{query}"))).await.expect(401);
        }
        let tomorrow = clock::now() + TimeDelta::days(1);
        for (query, rule) in [
            ("AsOf=".to_owned(), "must be a date or a time"),
            ("asOf=yesterday".to_owned(), "must be a date or a time"),
            ("AsOf=1783089120".to_owned(), "must be a date or a time"),
            ("AsOf=2026-02-30".to_owned(), "must be a date or a time"),
            ("AsOf=2026-07-03T25:00:00Z".to_owned(), "must be a date or a time"),
            (format!("AsOf={now}&asof={now}"), "must not be given more than once"),
            (format!("AsOf={}", written(tomorrow)), "must not be in the future; the current time is "),
            (
                format!("AsOf={}", tomorrow.format("%Y-%m-%d")),
                "must not be in the future; the current time is ",
            ),
            ("AsOf=9999-12-31".to_owned(), "must not be in the future; the current time is "),
        ] {
            let refused = owner.get(&format!("{path}?{query}")).await.expect(400);
            assert_eq!(refused.wrong(), ["AsOf"], "{query}");
            let message = refused.body["errors"]["AsOf"][0].as_str().unwrap();
            assert!(message.starts_with(rule), "{query}: {message}");
        }
    }
}

#[tokio::test]
async fn an_attempt_shows_what_it_went_by() {
    let owner = User::owner(&Api::shared().await).await;
    let (key, (destination, token)) = (owner.api_key().await, owner.destination().await);
    let id = accept(&owner, &key, &token).await;
    let secret = format!("/api/v1/tenants/{}/webhook-secret", owner.tenant_id);
    let first = owner.get(&secret).await.expect(200).text_of("webhookSecret");
    let path = format!("/api/v1/destinations/{destination}");
    attempt(&owner, &id, Outcome::Timeout, 9).await;

    let change = json!({ "url": "https://other.example.com/hooks", "serverRateLimit": 9,
        "authType": "BasicAuth", "credentials": { "username": "me", "password": "very secret" } });
    owner.patch(&path, &change).await.expect(200);
    owner.patch(&format!("/api/v1/tenants/{}", owner.tenant_id), &json!({ "maxTrys": 3 })).await.expect(200);
    let second = "whsec_0123456789abcdef0123456789abcdef";
    let log = owner.api.log().await;
    let tenant_id: Uuid = owner.tenant_id.parse().unwrap();
    let Tenant::Registered(account) = log.load::<Tenant>(tenant_id).await.unwrap().state else { panic!() };
    let regenerate = TenantCommand::RegenerateWebhookSecret {
        webhook_secret: WebhookSecret { fingerprint: fingerprint(second), ..account.webhook_secret },
        previous_signs_until: Some(clock::now() + TimeDelta::hours(1)),
        at: clock::now(),
    };
    log.execute::<Tenant>(tenant_id, regenerate, &metadata(&owner)).await.unwrap();
    attempt_by(&owner, &id, Outcome::Timeout, 9, SettingsUsed { destination: 4, tenant: 3 }).await;
    // The breaker changes nothing of it, and the overlap ends with the next secret.
    let third = owner.call(&secret).await.expect(200).text_of("webhookSecret");
    attempt_by(&owner, &id, Outcome::Succeeded, 9, SettingsUsed { destination: 3, tenant: 4 }).await;
    until_listed(&owner, &id, "Succeeded").await;

    let attempts = owner.get(&format!("/api/v1/events/{id}/attempts")).await.expect(200);
    let configurations: Vec<_> =
        attempts.body["items"].as_array().unwrap().iter().map(|item| &item["configuration"]).collect();
    let print = |secret: &str| fingerprint(secret).0;
    assert_eq!(
        configurations,
        [
            &json!({ "url": "https://receiver.example.com/hooks", "authType": null, "serverRateLimit": 5,
                "webhookSecretFingerprints": [print(&first)] }),
            &json!({ "url": "https://other.example.com/hooks", "authType": "BasicAuth", "serverRateLimit": 9,
                "webhookSecretFingerprints": [print(second), print(&first)] }),
            &json!({ "url": "https://other.example.com/hooks", "authType": null, "serverRateLimit": 9,
                "webhookSecretFingerprints": [print(&third)] }),
        ]
    );
    for secret in ["very secret", "ciphertext", "whsec_", &first[6..]] {
        assert!(!attempts.text.contains(secret), "{secret}");
    }
    let last = owner.get(&format!("/api/v1/events/{id}/attempts?Qt=1&Pg=2")).await.expect(200).body;
    assert_eq!(&last["items"][0]["configuration"], configurations[1]);
}
