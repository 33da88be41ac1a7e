//! Events and queues: list, get, replay, cancel, purge.

use aggregates::attempt_outcome::Outcome;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::api::{Api, send};
use crate::harness::events::{accept, attempt, start_attempt, try_start_attempt, until_listed};
use crate::harness::tenant::User;

struct Setting {
    owner: User,
    key: String,
    destination: String,
    token: String,
}

impl Setting {
    async fn new() -> Self {
        let owner = User::owner(&Api::shared().await).await;
        let key = owner.api_key().await;
        let (destination, token) = owner.destination().await;
        Self { owner, key, destination, token }
    }

    async fn accept(&self) -> String {
        accept(&self.owner, &self.key, &self.token).await
    }

    async fn event(&self, id: &str) -> Value {
        self.owner.get(&format!("/api/v1/events/{id}")).await.expect(200).body
    }

    async fn total(&self, query: &str) -> i64 {
        self.owner.get(&format!("/api/v1/events?{query}")).await.expect(200).body["total"].as_i64().unwrap()
    }
}

#[tokio::test]
async fn events_are_filtered_sorted_and_paged() {
    let setting = Setting::new().await;
    let (other_destination, other_token) = setting.owner.destination().await;
    let (first, second) = (setting.accept().await, setting.accept().await);
    let third = accept(&setting.owner, &setting.key, &other_token).await;
    attempt(&setting.owner, &second, Outcome::Succeeded, 10).await;
    until_listed(&setting.owner, &second, "Succeeded").await;
    let list = setting.owner.get("/api/v1/events").await.expect(200).body;
    let ids: Vec<_> = list["items"].as_array().unwrap().iter().map(|event| event["id"].clone()).collect();
    assert_eq!(ids, [json!(third), json!(second), json!(first)], "newest first");
    assert_eq!(list["items"][2], setting.event(&first).await, "a list shows what the event shows");
    assert_eq!(list["items"][0].as_object().unwrap().len(), 14);
    let accepted = setting.event(&second).await["acceptedAt"].as_str().unwrap().to_owned();
    for (query, total) in [
        ("Status=pending".to_owned(), 2),
        ("status=2".to_owned(), 1),
        (format!("DestinationUrlId={other_destination}"), 1),
        (format!("DestinationUrlId={}&Status=Pending", setting.destination.to_uppercase()), 1),
        ("DestinationUrlId=7d8e9f0a-1b2c-4d3e-8f5a-6b7c8d9e0f1a".to_owned(), 0),
        (format!("From={accepted}"), 2),
        (format!("To={accepted}"), 2),
        (format!("From={accepted}&To={accepted}"), 1),
        (format!("From={}", &accepted[..10]), 3),
        (format!("To={}", &accepted[..10]), 3),
        ("To=2020-01-01".to_owned(), 0),
        ("From=2020-01-01T00:00:00+02:00".to_owned(), 3),
    ] {
        assert_eq!(setting.total(&query).await, total, "{query}");
    }
    for (query, wrong) in [
        ("Status=Gone", "Status"),
        ("Status=7", "Status"),
        ("DestinationUrlId=x", "DestinationUrlId"),
        ("From=yesterday", "From"),
        ("To=2026-13-01", "To"),
        ("CpOrd=passwordHash", "CpOrd"),
        ("Qt=-1", "Qt"),
    ] {
        let refused = setting.owner.get(&format!("/api/v1/events?{query}")).await.expect(400);
        assert_eq!(refused.wrong(), [wrong], "{query}");
    }
    for field in [
        "id",
        "tenantId",
        "destinationUrlId",
        "payload",
        "status",
        "idempotencyKey",
        "currentRetryCount",
        "nextAttemptAt",
        "acceptedAt",
        "deliveredAt",
    ] {
        for direction in ["Asc", "Desc"] {
            let page = |number| format!("/api/v1/events?CpOrd={field}&TpOrd={direction}&Qt=2&Pg={number}");
            let (one, two) = (
                setting.owner.get(&page(1)).await.expect(200),
                setting.owner.get(&page(2)).await.expect(200),
            );
            let items =
                |answer: &crate::harness::api::Answer| answer.body["items"].as_array().unwrap().clone();
            let mut seen: Vec<_> =
                items(&one).into_iter().chain(items(&two)).map(|event| event["id"].to_string()).collect();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), 3, "pages of {field} {direction} overlap");
        }
    }
}

#[tokio::test]
async fn the_event_of_an_idempotency_key_is_found() {
    let (setting, stranger) = (Setting::new().await, Setting::new().await);
    let mut ids = vec![];
    for key in ["order 7", "Order 7", "é"] {
        let request = setting.owner.ingest(&setting.key, &setting.token, "{}");
        let accepted = send(request.header("X-Idempotency-Key", key)).await.expect(202);
        ids.push(accepted.text_of("eventId"));
    }
    setting.accept().await;
    for id in &ids {
        until_listed(&setting.owner, id, "Pending").await;
    }
    for (key, id, shown) in
        [("order%207", &ids[0], "order 7"), ("Order+7", &ids[1], "Order 7"), ("%C3%A9", &ids[2], "é")]
    {
        for others in ["", "&CpOrd=status&Status=Pending", "&CpOrd=idempotencyKey", "&Qt=1&CpOrd=payload"] {
            let query = format!("/api/v1/events?idempotencykey={key}{others}");
            let found = setting.owner.get(&query).await.expect(200).body;
            assert_eq!((&found["total"], &found["next"]), (&json!(1), &Value::Null), "{query}");
            let event = &found["items"][0];
            assert_eq!((&event["id"], &event["idempotencyKey"]), (&json!(id), &json!(shown)), "{query}");
        }
        let path = format!("/api/v1/events?IdempotencyKey={key}");
        assert_eq!(stranger.owner.get(&path).await.expect(200).body["total"], 0);
    }
    for query in ["IdempotencyKey=order%208", "IdempotencyKey=order%207&Status=Succeeded"] {
        assert_eq!(setting.total(query).await, 0, "{query}");
    }
    for wrong in ["", "a%09b", &"x".repeat(256), "a&IdempotencyKey=a"] {
        let refused = setting.owner.get(&format!("/api/v1/events?IdempotencyKey={wrong}")).await.expect(400);
        assert_eq!(refused.wrong(), ["IdempotencyKey"], "{wrong}");
    }
}

#[tokio::test]
async fn cursors_lead_through_the_whole_list() {
    let setting = Setting::new().await;
    let mut ids = vec![];
    for _ in 0..5 {
        ids.push(setting.accept().await);
    }
    for order in ["CpOrd=acceptedAt", "CpOrd=id&TpOrd=Asc", "CpOrd=status", "CpOrd=idempotencyKey&TpOrd=Asc"]
    {
        let mut path = format!("/api/v1/events?Qt=2&{order}");
        let mut seen = vec![];
        loop {
            let page = setting.owner.get(&path).await.expect(200).body;
            assert_eq!(page["total"], 5);
            seen.extend(page["items"].as_array().unwrap().iter().map(|event| event["id"].clone()));
            let Some(next) = page["next"].as_str() else { break };
            path = format!("/api/v1/events?Qt=2&{order}&After={next}");
        }
        assert_eq!(seen.len(), 5, "{order}");
        assert!(ids.iter().all(|id| seen.contains(&json!(id))), "{order}");
    }
    let by_payload = setting.owner.get("/api/v1/events?Qt=2&CpOrd=payload").await.expect(200).body;
    assert_eq!(by_payload["next"], Value::Null);
}

#[tokio::test]
async fn a_cursor_is_valid_for_its_list_only() {
    let (setting, stranger) = (Setting::new().await, Setting::new().await);
    for setting in [&setting, &stranger] {
        setting.accept().await;
        setting.accept().await;
    }
    let next = async |setting: &Setting| {
        let page = setting.owner.get("/api/v1/events?Qt=1").await.expect(200);
        page.text_of("next")
    };
    let (cursor, foreign) = (next(&setting).await, next(&stranger).await);
    let page = setting.owner.get(&format!("/api/v1/events?Qt=200&After={cursor}")).await.expect(200);
    assert_eq!(page.body["items"].as_array().unwrap().len(), 1, "the size of a page may change");
    let tampered = format!("{}{}", if cursor.starts_with('A') { 'B' } else { 'A' }, &cursor[1..]);
    for query in [
        format!("After={foreign}"),
        format!("After={tampered}"),
        "After=".to_owned(),
        "After=%00".to_owned(),
        format!("After={cursor}&Pg=1"),
        format!("After={cursor}&After={cursor}"),
        format!("After={cursor}&Status=Pending"),
        format!("After={cursor}&DestinationUrlId={}", setting.destination),
        format!("After={cursor}&From=2020-01-01"),
        format!("After={cursor}&To=2120-01-01"),
        format!("After={cursor}&IdempotencyKey=order-7"),
        format!("After={cursor}&CpOrd=id"),
        format!("After={cursor}&TpOrd=Asc"),
    ] {
        let refused = setting.owner.get(&format!("/api/v1/events?Qt=1&{query}")).await.expect(400);
        assert_eq!(refused.wrong(), ["After"], "{query}");
    }
    let refused = setting.owner.get(&format!("/api/v1/events?Status=Gone&After={cursor}")).await.expect(400);
    assert_eq!(refused.wrong(), ["Status"], "what else is wrong comes first");
}

#[tokio::test]
async fn large_payloads_are_returned_completely() {
    let setting = Setting::new().await;
    let payload = |n: usize| format!("{{\"n\":{n},\"a\":\"{}\"}}", "ü".repeat(25_000));
    // More than one piece of the response body.
    let ids = join_all((0..180).map(async |n| {
        send(setting.owner.ingest(&setting.key, &setting.token, &payload(n)))
            .await
            .expect(202)
            .text_of("eventId")
    }))
    .await;
    crate::harness::until("all events to be listed", async || (setting.total("").await == 180).then_some(()))
        .await;
    let list = setting.owner.get("/api/v1/events?Qt=200&CpOrd=acceptedAt").await.expect(200).body;
    assert_eq!(list["total"], 180);
    let items = list["items"].as_array().unwrap();
    assert_eq!(items.len(), 180);
    for (n, id) in ids.iter().enumerate() {
        let event = items.iter().find(|event| event["id"] == *id).expect("each event once");
        assert!(event["payload"] == payload(n));
    }
}

#[tokio::test]
async fn an_event_in_critical_failure_is_replayed_once() {
    let setting = Setting::new().await;
    let id = setting.accept().await;
    let replay = format!("/api/v1/events/{id}/replay");
    assert_eq!(setting.owner.call(&replay).await.expect(400).problem(), "event-not-replayable");
    attempt(&setting.owner, &id, Outcome::Timeout, 2).await;
    let waiting = until_listed(&setting.owner, &id, "WaitingRetry").await;
    assert_eq!(waiting["currentRetryCount"], 1);
    assert!(waiting["nextAttemptAt"].is_string());
    setting.owner.call(&replay).await.expect(400);
    attempt(&setting.owner, &id, Outcome::Timeout, 2).await;
    let failed = until_listed(&setting.owner, &id, "CriticalFailure").await;
    assert_eq!((&failed["currentRetryCount"], &failed["nextAttemptAt"]), (&json!(2), &Value::Null));
    let replays = join_all((0..5).map(|_| setting.owner.call(&replay))).await;
    let mut statuses: Vec<_> = replays.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400, 400, 400, 400]);
    let replayed = replays.into_iter().find(|answer| answer.status == 200).unwrap().body;
    assert_eq!((&replayed["status"], &replayed["currentRetryCount"]), (&json!("Pending"), &json!(0)));
    assert!(replayed["nextAttemptAt"].is_string());
    assert_eq!(setting.event(&id).await, replayed);
    attempt(&setting.owner, &id, Outcome::Succeeded, 2).await;
    let delivered = until_listed(&setting.owner, &id, "Succeeded").await;
    assert!(delivered["deliveredAt"].is_string() && delivered["nextAttemptAt"].is_null());
    setting.owner.call(&replay).await.expect(400);
}

#[tokio::test]
async fn a_waiting_event_is_cancelled_once() {
    let setting = Setting::new().await;
    let (pending, retried) = (setting.accept().await, setting.accept().await);
    attempt(&setting.owner, &retried, Outcome::Connect, 9).await;
    for (id, failed_attempts) in [(&pending, 0), (&retried, 1)] {
        let cancel = format!("/api/v1/events/{id}/cancel");
        let answers = join_all((0..5).map(|_| setting.owner.call(&cancel))).await;
        let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 400, 400, 400, 400]);
        let cancelled = answers.into_iter().find(|answer| answer.status == 200).unwrap().body;
        assert_eq!(cancelled["status"], "Cancelled");
        assert_eq!(cancelled["currentRetryCount"], failed_attempts);
        assert_eq!((&cancelled["nextAttemptAt"], &cancelled["deliveredAt"]), (&Value::Null, &Value::Null));
        assert_eq!(setting.event(id).await, cancelled);
        setting.owner.call(&format!("/api/v1/events/{id}/replay")).await.expect(400);
    }
    let path = format!("/api/v1/events/{pending}/history");
    let history = setting.owner.get(&path).await.expect(200).body;
    assert_eq!(history["items"][1]["type"], "Cancelled");
    assert_eq!(history["items"][1]["actor"], format!("user:{}", setting.owner.id));
}

#[tokio::test]
async fn an_event_that_does_not_wait_is_not_cancelled() {
    let setting = Setting::new().await;
    let (in_progress, delivered, failed) =
        (setting.accept().await, setting.accept().await, setting.accept().await);
    attempt(&setting.owner, &delivered, Outcome::Succeeded, 1).await;
    attempt(&setting.owner, &failed, Outcome::Connect, 1).await;
    start_attempt(&setting.owner, &in_progress).await;
    for (id, status) in
        [(&in_progress, "Processing"), (&delivered, "Succeeded"), (&failed, "CriticalFailure")]
    {
        until_listed(&setting.owner, id, status).await;
        let refused = setting.owner.call(&format!("/api/v1/events/{id}/cancel")).await.expect(400);
        assert_eq!(refused.problem(), "event-not-cancellable", "{status}");
        assert_eq!(setting.event(id).await["status"], status);
    }
}

#[tokio::test]
async fn only_one_of_a_cancellation_and_an_attempt_succeeds() {
    let setting = Setting::new().await;
    for _ in 0..10 {
        let id = setting.accept().await;
        let path = format!("/api/v1/events/{id}/cancel");
        let (cancelled, started) =
            tokio::join!(setting.owner.call(&path), try_start_attempt(&setting.owner, &id));
        assert_eq!(cancelled.status == 200, !started, "{}", cancelled.text);
        let status = if started { "Processing" } else { "Cancelled" };
        until_listed(&setting.owner, &id, status).await;
    }
}

#[tokio::test]
async fn attempts_and_history_describe_the_delivery() {
    let setting = Setting::new().await;
    let id = setting.accept().await;
    attempt(&setting.owner, &id, Outcome::Dns, 2).await;
    attempt(&setting.owner, &id, Outcome::Succeeded, 2).await;
    until_listed(&setting.owner, &id, "Succeeded").await;
    let attempts =
        setting.owner.get(&format!("/api/v1/events/{id}/attempts?TpOrd=Asc")).await.expect(200).body;
    assert_eq!(attempts["total"], 2);
    let outcomes: Vec<_> =
        attempts["items"].as_array().unwrap().iter().map(|attempt| &attempt["outcome"]).collect();
    assert_eq!(outcomes, ["dns", "succeeded"]);
    assert_eq!(attempts["items"][1]["httpStatus"], 204);
    assert_eq!(attempts["items"][0]["detail"], "for a test");
    let history = setting.owner.get(&format!("/api/v1/events/{id}/history")).await.expect(200).body;
    let types: Vec<_> =
        history["items"].as_array().unwrap().iter().map(|fact| fact["type"].as_str().unwrap()).collect();
    assert_eq!(
        types,
        [
            "EventAccepted",
            "DeliveryStarted",
            "DeliveryAttempted",
            "RetryScheduled",
            "DeliveryStarted",
            "DeliveryAttempted"
        ]
    );
    assert_eq!(history["total"], 6);
    let last =
        setting.owner.get(&format!("/api/v1/events/{id}/history?TpOrd=Desc&Qt=1")).await.expect(200).body;
    assert_eq!(last["items"], json!([history["items"][5]]));
    for room in ["attempts", "history"] {
        setting.owner.get(&format!("/api/v1/events/{id}/{room}?Qt=0")).await.expect(400);
        let unknown = "7d8e9f0a-1b2c-4d3e-8f5a-6b7c8d9e0f1a";
        setting.owner.get(&format!("/api/v1/events/{unknown}/{room}")).await.expect(404);
    }
}

#[tokio::test]
async fn a_purge_cancels_waiting_events_only() {
    let setting = Setting::new().await;
    let (_, other_token) = setting.owner.destination().await;
    let elsewhere = accept(&setting.owner, &setting.key, &other_token).await;
    let (delivered, retried, failed) =
        (setting.accept().await, setting.accept().await, setting.accept().await);
    attempt(&setting.owner, &delivered, Outcome::Succeeded, 1).await;
    attempt(&setting.owner, &retried, Outcome::Connect, 9).await;
    attempt(&setting.owner, &failed, Outcome::Connect, 1).await;
    // Accepted just before the purge, so that no read model has them yet.
    let fresh = join_all((0..600).map(async |_| {
        send(setting.owner.ingest(&setting.key, &setting.token, "{}")).await.expect(202).text_of("eventId")
    }))
    .await;
    let path = format!("/api/v1/queues/{}", setting.destination);
    setting.owner.delete(&path).await.expect(204);
    assert_eq!(setting.total("Status=Cancelled").await, 601);
    assert_eq!(setting.total("Status=WaitingRetry").await, 0);
    assert_eq!(setting.total("Status=Pending").await, 1);
    assert_eq!(setting.event(&elsewhere).await["status"], "Pending");
    assert_eq!(setting.event(&delivered).await["status"], "Succeeded");
    assert_eq!(setting.event(&failed).await["status"], "CriticalFailure");
    let cancelled = setting.event(&retried).await;
    assert_eq!((&cancelled["status"], &cancelled["nextAttemptAt"]), (&json!("Cancelled"), &Value::Null));
    let history = setting.owner.get(&format!("/api/v1/events/{}/history", fresh[0])).await.expect(200).body;
    assert_eq!(history["items"][1]["actor"], format!("user:{}", setting.owner.id));
    setting.owner.call(&format!("/api/v1/events/{}/replay", fresh[0])).await.expect(400);
    // A purge of an empty queue succeeds, and later events are delivered.
    setting.owner.delete(&path).await.expect(204);
    setting.accept().await;
}

#[tokio::test]
async fn two_purges_at_once_do_not_disturb_each_other() {
    let setting = Setting::new().await;
    join_all((0..300).map(async |_| {
        send(setting.owner.ingest(&setting.key, &setting.token, "{}")).await.expect(202);
    }))
    .await;
    let path = format!("/api/v1/queues/{}", setting.destination);
    for answer in join_all((0..3).map(|_| setting.owner.delete(&path))).await {
        answer.expect(204);
    }
    assert_eq!(setting.total("Status=Cancelled").await, 300);
}
