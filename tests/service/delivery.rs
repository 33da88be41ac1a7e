//! Delivery of a webhook by the running program, and failures of its receiver.

use hooksentry::secrets::salt::hmac_sha256;
use serde_json::json;

use crate::harness::postgres::TestDatabase;
use crate::harness::process::{Launch, Process};
use crate::harness::receiver::{Arrival, Receiver};
use crate::harness::tenant::Tenant;
use crate::harness::until;

const ALL_ROLES: &str = "api,projector,dispatcher,worker";

async fn start(database: &TestDatabase) -> Process {
    Launch::serve(ALL_ROLES, &database.url())
        .with("HOOKSENTRY_RETRY_BASE", "50ms")
        .with("HOOKSENTRY_RETRY_FACTOR", "1")
        .ready()
        .await
}

#[tokio::test]
async fn a_webhook_is_delivered_byte_for_byte_with_two_valid_signatures() {
    let database = TestDatabase::create().await;
    let program = start(&database).await;
    let receiver = Receiver::answering(204).await;
    let tenant = Tenant::register(program.base()).await;
    let destination = tenant.destination(&receiver.url(), 5).await;
    // White space, number format, escapes and order of the payload are preserved.
    let payload = "{ \"b\" : 1.50,\n\t\"a\":\"\\u00e9 é\",\"big\": 12345678901234567890 }";

    let answer = tenant.try_ingest(&destination, payload).await.expect("an answer");
    assert_eq!(answer.status(), 202);
    let location = answer.headers()["location"].to_str().expect("text").to_owned();
    let accepted: serde_json::Value = answer.json().await.expect("JSON");
    let event_id = accepted["eventId"].as_str().expect("an id");
    assert_eq!(location, format!("/api/v1/events/{event_id}"));

    let event = tenant.until_event(event_id, "Succeeded").await;
    assert_eq!(event["payload"], payload);
    assert_eq!(event["currentRetryCount"], 0);
    assert_eq!(event["nextAttemptAt"], json!(null));
    assert!(event["deliveredAt"].is_string());

    let arrivals = receiver.arrivals();
    assert_eq!(arrivals.len(), 1);
    let arrival = &arrivals[0];
    assert_eq!(arrival.body, payload.as_bytes());
    assert_eq!(arrival.header("content-type"), "application/json; charset=utf-8");
    assert_eq!(arrival.event_id(), event_id);
    assert_eq!(arrival.header("x-hooksentry-attempt"), "1");
    let secret = secrecy::SecretString::from(tenant.webhook_secret.clone());
    let signature = arrival.header("x-hooksentry-signature");
    assert!(hooksentry::worker::signature::verify(&secret, &arrival.body, signature));
    standardwebhooks::Webhook::new(&tenant.webhook_secret)
        .expect("a secret that the library accepts")
        .verify(&arrival.body, &arrival.headers)
        .expect("a signature that the library accepts");

    let history = tenant.get(&format!("events/{event_id}/history")).await;
    let types: Vec<&str> = history["items"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|fact| fact["type"].as_str().expect("a type"))
        .collect();
    assert_eq!(types, ["EventAccepted", "DeliveryStarted", "DeliveryAttempted"]);
    assert!(program.stop().await.success());
    database.discard().await;
}

/// From the second webhook on: the worker reads the settings of the destination for the first one.
#[tokio::test]
async fn an_attempt_that_may_begin_at_once_is_logged_in_the_transaction_of_its_acceptance() {
    let database = TestDatabase::create().await;
    let program = start(&database).await;
    let receiver = Receiver::answering(204).await;
    let tenant = Tenant::register(program.base()).await;
    let destination = tenant.destination(&receiver.url(), 5).await;
    let pool = database.pool().await;
    let mut transactions = vec![];
    for number in 0..2 {
        let event_id = tenant.ingest(&destination, &json!({ "number": number })).await;
        tenant.until_event(&event_id, "Succeeded").await;
        let of_event: Vec<String> = sqlx::query_scalar(
            "SELECT transaction_id::text FROM events
             WHERE aggregate_type = 'WebhookEvent' AND aggregate_id = $1 ORDER BY sequence",
        )
        .bind(&event_id)
        .fetch_all(&pool)
        .await
        .expect("the log");
        transactions.push(of_event);
    }
    assert_ne!(transactions[0][0], transactions[0][1]);
    assert_eq!(transactions[1][0], transactions[1][1]);
    assert_ne!(transactions[1][1], transactions[1][2]);
    assert_eq!(receiver.arrivals().len(), 2);
    pool.close().await;
    assert!(program.stop().await.success());
    database.discard().await;
}

/// The log has a commitment to what is kept of a response, which an auditor computes from the stored text and salt.
#[tokio::test]
async fn what_is_kept_of_a_response_is_beside_the_log() {
    let database = TestDatabase::create().await;
    let program = start(&database).await;
    let receiver = Receiver::answering(204).await;
    let tenant = Tenant::register(program.base()).await;
    let destination = tenant.destination(&receiver.url(), 5).await;
    let event_id = tenant.ingest(&destination, &json!({ "event": "order.paid" })).await;
    tenant.until_event(&event_id, "Succeeded").await;

    let pool = database.pool().await;
    let (text, salt): (String, Vec<u8>) =
        sqlx::query_as("SELECT response::text, salt FROM attempt_responses WHERE event_id = $1::uuid")
            .bind(&event_id)
            .fetch_one(&pool)
            .await
            .expect("a response");
    let history = tenant.get(&format!("events/{event_id}/history")).await;
    let report = &history["items"][2]["data"]["report"];
    assert_eq!(report["responseHmacSha256"], hex::encode(hmac_sha256(&salt, &[text.as_bytes()])));
    let kept: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let attempts = tenant.get(&format!("events/{event_id}/attempts")).await;
    let attempt = &attempts["items"][0];
    assert!(kept["headers"]["date"].is_string());
    assert_eq!((&attempt["responseHeaders"], &attempt["responseExcerpt"]), (&kept["headers"], &json!(null)));
    let logged: bool = sqlx::query_scalar("SELECT bool_or(payload::text LIKE '%' || $1 || '%') FROM events")
        .bind(kept["headers"]["date"].as_str())
        .fetch_one(&pool)
        .await
        .expect("the log");
    assert!(!logged, "nothing that the receiver wrote is in the log");
    pool.close().await;
    assert!(program.stop().await.success());
    database.discard().await;
}

#[tokio::test]
async fn a_replaced_secret_signs_during_its_overlap() {
    let database = TestDatabase::create().await;
    let program = start(&database).await;
    let receiver = Receiver::answering(200).await;
    let tenant = Tenant::register(program.base()).await;
    let destination = tenant.destination(&receiver.url(), 5).await;
    let arrives = async || {
        let event_id = tenant.ingest(&destination, &json!({ "event": "signed" })).await;
        tenant.until_event(&event_id, "Succeeded").await;
        receiver.arrivals().into_iter().find(|arrival| arrival.event_id() == event_id).expect("it arrived")
    };
    // For each secret, whether the Standard Webhooks headers and our own header are valid.
    let verified = |arrival: &Arrival, secrets: &[&str]| -> Vec<(bool, bool)> {
        let signature = arrival.header("x-hooksentry-signature");
        let verify = |secret: &&str| {
            let stock = standardwebhooks::Webhook::new(secret).expect("a secret");
            let own = secrecy::SecretString::from(*secret);
            (
                stock.verify(&arrival.body, &arrival.headers).is_ok(),
                hooksentry::worker::signature::verify(&own, &arrival.body, signature),
            )
        };
        secrets.iter().map(verify).collect()
    };
    let first = tenant.webhook_secret.clone();
    assert_eq!(verified(&arrives().await, &[&first]), [(true, true)]);

    let second = tenant.regenerate_secret(json!({ "overlapSeconds": 86_400 })).await;
    let arrival = arrives().await;
    assert_eq!(arrival.header("webhook-signature").split(' ').count(), 2);
    assert_eq!(verified(&arrival, &[&first, &second]), [(true, false), (true, true)]);

    // A new secret ends earlier overlaps.
    let third = tenant.regenerate_secret(json!({ "overlapSeconds": 1 })).await;
    until("the overlap to be over", async || {
        let arrival = arrives().await;
        assert_eq!(verified(&arrival, &[&first, &third]), [(false, false), (true, true)]);
        (verified(&arrival, &[&second]) == [(false, false)]).then_some(())
    })
    .await;

    let fourth = tenant.regenerate_secret(json!({})).await;
    let arrival = arrives().await;
    assert_eq!(arrival.header("webhook-signature").split(' ').count(), 1);
    assert_eq!(verified(&arrival, &[&third, &fourth]), [(false, false), (true, true)]);
    assert!(program.stop().await.success());
    database.discard().await;
}

#[tokio::test]
async fn a_failing_delivery_is_retried_given_up_and_replayed() {
    let database = TestDatabase::create().await;
    let program = start(&database).await;
    let receiver = Receiver::answering(500).await;
    let tenant = Tenant::register(program.base()).await;
    tenant.resilience(3, 300).await;
    let destination = tenant.destination(&receiver.url(), 5).await;

    let event_id = tenant.ingest(&destination, &json!({ "event": "order.paid" })).await;
    let event = tenant.until_event(&event_id, "CriticalFailure").await;
    assert_eq!(event["currentRetryCount"], 3);
    assert_eq!(event["nextAttemptAt"], json!(null));
    assert_eq!(receiver.count(), 3);

    receiver.answer(200);
    tenant.post(&format!("events/{event_id}/replay")).await.expect(200);
    let event = tenant.until_event(&event_id, "Succeeded").await;
    assert_eq!(event["currentRetryCount"], 0);
    assert_eq!(receiver.count(), 4);
    // An event that was delivered is not delivered again.
    tenant.post(&format!("events/{event_id}/replay")).await.expect(400);
    assert!(program.stop().await.success());
    database.discard().await;
}

/// The service erases no payload that is still to be delivered; a database restored without its payloads lacks
/// them all the same.
#[tokio::test]
async fn an_event_without_payload_is_given_up_at_once() {
    let database = TestDatabase::create().await;
    let program = start(&database).await;
    let receiver = Receiver::answering(500).await;
    let tenant = Tenant::register(program.base()).await;
    let destination = tenant.destination(&receiver.url(), 5).await;
    receiver.hold();
    let event_id = tenant.ingest(&destination, &json!({ "event": "order.paid" })).await;
    until("the first attempt", async || (receiver.in_flight() == 1).then_some(())).await;
    let pool = database.pool().await;
    sqlx::query("DELETE FROM payloads").execute(&pool).await.expect("no payload");
    pool.close().await;
    receiver.release();

    let event = tenant.until_event(&event_id, "CriticalFailure").await;
    assert_eq!(event["currentRetryCount"], 1);
    assert_eq!(receiver.count(), 1);
    let attempts = tenant.get(&format!("events/{event_id}/attempts")).await;
    assert_eq!(attempts["items"][0]["outcome"], "refused_status");
    assert_eq!(attempts["items"][1]["outcome"], "payload_erased");
    assert_eq!(attempts["total"], 2);
    assert!(program.stop().await.success());
    database.discard().await;
}

/// The claim waits in the database for longer than half the margin.
#[tokio::test]
async fn a_worker_that_was_held_up_after_its_claim_does_not_send() {
    let database = TestDatabase::create().await;
    let program = Launch::serve(ALL_ROLES, &database.url())
        .with("HOOKSENTRY_VANISHED_MARGIN", "2s")
        .with("HOOKSENTRY_RETRY_BASE", "50ms")
        .with("HOOKSENTRY_MAX_PAYLOAD_BYTES", "4MiB")
        .ready()
        .await;
    let receiver = Receiver::answering(200).await;
    let tenant = Tenant::register(program.base()).await;
    let destination = tenant.destination(&receiver.url(), 1).await;
    receiver.hold();
    tenant.ingest(&destination, &json!({ "event": "first" })).await;
    until("the first attempt", async || (receiver.in_flight() == 1).then_some(())).await;
    // So large that this process does not keep it for its worker.
    let padding = "x".repeat(1_500_000);
    let event_id = tenant.ingest(&destination, &json!({ "event": "second", "padding": padding })).await;

    let pool = database.pool().await;
    let mut held = pool.begin().await.expect("a transaction");
    let lock = "LOCK TABLE payloads IN ACCESS EXCLUSIVE MODE";
    sqlx::query(lock).execute(&mut *held).await.expect("a lock");
    receiver.release();
    until("the claim to wait", async || {
        let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted
                     AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        let waiting: i64 = sqlx::query_scalar(waits).fetch_one(&pool).await.ok()?;
        (waiting > 0).then_some(())
    })
    .await;
    sqlx::query("SELECT pg_sleep(1.2)").execute(&mut *held).await.expect("more than half the margin");
    held.rollback().await.expect("the end of the lock");
    pool.close().await;

    tenant.until_event(&event_id, "Succeeded").await;
    let attempts = tenant.get(&format!("events/{event_id}/attempts")).await;
    let outcomes: Vec<_> =
        attempts["items"].as_array().expect("a list").iter().map(|attempt| &attempt["outcome"]).collect();
    assert_eq!(outcomes, ["not_sent", "succeeded"]);
    assert_eq!(receiver.count(), 2);
    assert!(program.stop().await.success());
    database.discard().await;
}

#[tokio::test]
async fn a_limit_is_never_exceeded_and_is_used_in_full() {
    let database = TestDatabase::create().await;
    let program = start(&database).await;
    let receiver = Receiver::answering(200).await;
    let tenant = Tenant::register(program.base()).await;
    let destination = tenant.destination(&receiver.url(), 3).await;
    let mut accepted = 0;
    for limit in [3, 6] {
        tenant.change(&destination, json!({ "serverRateLimit": limit })).await;
        receiver.hold();
        for number in 0..20 {
            tenant.ingest(&destination, &json!({ "number": number })).await;
        }
        until("the limit to be used in full", async || (receiver.in_flight() == limit).then_some(())).await;
        receiver.release();
        accepted += 20;
        tenant.until_count("Succeeded", accepted).await;
        assert_eq!(receiver.in_flight_max(), limit);
    }
    assert_eq!(receiver.count(), accepted);
    assert!(program.stop().await.success());
    database.discard().await;
}

#[tokio::test]
async fn the_maximum_of_the_installation_bounds_the_limit_of_a_destination() {
    let database = TestDatabase::create().await;
    let program = Launch::serve(ALL_ROLES, &database.url())
        .with("HOOKSENTRY_DESTINATION_CONCURRENCY_MAX", "2")
        .ready()
        .await;
    let receiver = Receiver::answering(200).await;
    let tenant = Tenant::register(program.base()).await;
    let destination = tenant.destination(&receiver.url(), 50).await;
    receiver.hold();
    for number in 0..20 {
        tenant.ingest(&destination, &json!({ "number": number })).await;
    }
    until("the maximum to be used in full", async || (receiver.in_flight() == 2).then_some(())).await;
    receiver.release();
    tenant.until_count("Succeeded", 20).await;
    assert_eq!(receiver.in_flight_max(), 2);
    let limits = |view: &serde_json::Value| {
        (view["serverRateLimit"].as_u64().unwrap(), view["effectiveServerRateLimit"].as_u64().unwrap())
    };
    assert_eq!(limits(&tenant.get(&format!("destinations/{}", destination.id)).await), (50, 2));
    assert_eq!(limits(&tenant.get("destinations").await["items"][0]), (50, 2));
    assert_eq!(limits(&tenant.change(&destination, json!({ "serverRateLimit": 1 })).await), (1, 1));
    assert!(program.stop().await.success());
    database.discard().await;
}

#[tokio::test]
async fn a_broken_destination_is_suspended_probed_and_resumed() {
    let database = TestDatabase::create().await;
    let program = start(&database).await;
    let receiver = Receiver::answering(503).await;
    let tenant = Tenant::register(program.base()).await;
    tenant.resilience(50, 1).await;
    let destination = tenant.destination(&receiver.url(), 5).await;
    let path = format!("destinations/{}", destination.id);
    for number in 0..8 {
        let answer = tenant.try_ingest(&destination, json!({ "number": number }).to_string()).await;
        // The circuit breaker may open meanwhile.
        assert!([202, 422].contains(&answer.expect("an answer").status().as_u16()));
    }
    until("the destination to be suspended", async || {
        (tenant.get(&path).await["status"] == "Suspended").then_some(())
    })
    .await;
    let refused = tenant.try_ingest(&destination, "{}").await.expect("an answer");
    assert_eq!(refused.status(), 422);

    receiver.answer(200);
    until("the destination to receive again", async || {
        (tenant.count("Pending").await + tenant.count("WaitingRetry").await == 0).then_some(())
    })
    .await;
    assert_eq!(tenant.get(&path).await["status"], "Active");
    assert_eq!(tenant.count("CriticalFailure").await, 0);
    assert!(program.stop().await.success());
    database.discard().await;
}

#[tokio::test]
async fn a_suspended_destination_is_probed_by_one_request_and_its_limit_is_not_exceeded_afterwards() {
    const LIMIT: u32 = 4;
    let database = TestDatabase::create().await;
    let program = start(&database).await;
    let (broken, working) = (Receiver::answering(503).await, Receiver::answering(200).await);
    let tenant = Tenant::register(program.base()).await;
    tenant.resilience(50, 1).await;
    let destination = tenant.destination(&broken.url(), LIMIT).await;
    let other = tenant.destination(&working.url(), 4).await;
    let path = format!("destinations/{}", destination.id);
    let mut accepted = 0;
    until("the destination to be suspended", async || {
        let answer = tenant.try_ingest(&destination, "{}").await.expect("an answer");
        accepted += usize::from(answer.status() == 202);
        (answer.status() == 422).then_some(())
    })
    .await;

    // The command returns when the read models have applied all earlier facts.
    tenant.change(&other, json!({ "serverRateLimit": 5 })).await;
    tenant.until_count("Processing", 0).await;
    broken.hold();
    until("the probe", async || (broken.in_flight() == 1).then_some(())).await;
    until("the destination to take events again", async || {
        (tenant.get(&path).await["status"] == "Active").then_some(())
    })
    .await;
    for _ in 0..20 {
        tenant.ingest(&destination, &json!({ "event": "during the probe" })).await;
        accepted += 1;
    }
    // When this event is delivered, the dispatcher has read the earlier ones.
    let event_id = tenant.ingest(&other, &json!({ "event": "elsewhere" })).await;
    tenant.until_event(&event_id, "Succeeded").await;
    assert_eq!(broken.in_flight(), 1, "a probe is one request");

    broken.answer(200);
    broken.release();
    tenant.until_count("Succeeded", accepted + 1).await;
    assert!(broken.in_flight_max() <= LIMIT as usize);
    assert!(program.stop().await.success());
    database.discard().await;
}

#[tokio::test]
async fn changed_settings_apply_from_the_next_attempt() {
    let database = TestDatabase::create().await;
    let program = start(&database).await;
    let (old, new) = (Receiver::answering(500).await, Receiver::answering(200).await);
    let tenant = Tenant::register(program.base()).await;
    let destination = tenant.destination(&old.url(), 1).await;
    old.hold();
    let event_id = tenant.ingest(&destination, &json!({ "event": "moved" })).await;
    until("an attempt with the old settings", async || (old.in_flight() == 1).then_some(())).await;
    let change = json!({
        "url": new.url(),
        "authType": "BearerToken",
        "credentials": { "token": "a new token" },
    });
    tenant.change(&destination, change).await;
    old.release();
    tenant.until_event(&event_id, "Succeeded").await;
    assert_eq!((old.count(), new.count()), (1, 1));
    assert_eq!(new.arrivals()[0].header("authorization"), "Bearer a new token");
    assert_eq!(old.arrivals()[0].header("authorization"), "");
    assert!(program.stop().await.success());
    database.discard().await;
}

#[tokio::test]
async fn an_inactive_destination_keeps_its_events_and_resumes() {
    let database = TestDatabase::create().await;
    let program = start(&database).await;
    let receiver = Receiver::answering(500).await;
    let tenant = Tenant::register(program.base()).await;
    let destination = tenant.destination(&receiver.url(), 1).await;
    let event_id = tenant.ingest(&destination, &json!({ "event": "held" })).await;
    until("a first attempt", async || (receiver.count() > 0).then_some(())).await;
    tenant.change(&destination, json!({ "status": "inactive" })).await;
    assert_eq!(tenant.try_ingest(&destination, "{}").await.expect("an answer").status(), 422);
    tenant.until_event(&event_id, "WaitingRetry").await;
    let attempts = receiver.count();

    receiver.answer(200);
    tenant.change(&destination, json!({ "status": "active" })).await;
    tenant.until_event(&event_id, "Succeeded").await;
    assert_eq!(receiver.count(), attempts + 1, "no attempt was made while it was inactive");
    assert!(program.stop().await.success());
    database.discard().await;
}

#[tokio::test]
async fn a_purge_cancels_waiting_events_and_not_the_one_in_delivery() {
    let database = TestDatabase::create().await;
    let program = start(&database).await;
    let receiver = Receiver::answering(200).await;
    let tenant = Tenant::register(program.base()).await;
    let destination = tenant.destination(&receiver.url(), 1).await;
    receiver.hold();
    for number in 0..10 {
        tenant.ingest(&destination, &json!({ "number": number })).await;
    }
    until("an attempt in flight", async || (receiver.in_flight() == 1).then_some(())).await;
    tenant.until_count("Processing", 1).await;

    let purged = tenant.delete(&format!("queues/{}", destination.id)).await;
    purged.expect(204);
    assert_eq!(tenant.count("Cancelled").await, 9);
    receiver.release();
    tenant.until_count("Succeeded", 1).await;

    // A waiting event is cancelled while another one is in delivery.
    receiver.hold();
    let in_delivery = tenant.ingest(&destination, &json!({ "number": "held" })).await;
    tenant.until_event(&in_delivery, "Processing").await;
    let waiting = tenant.ingest(&destination, &json!({ "number": "cancelled" })).await;
    tenant.post(&format!("events/{waiting}/cancel")).await.expect(200);
    tenant.post(&format!("events/{in_delivery}/cancel")).await.expect(400);
    receiver.release();
    tenant.until_event(&in_delivery, "Succeeded").await;

    // Later events are delivered.
    let event_id = tenant.ingest(&destination, &json!({ "number": "next" })).await;
    tenant.until_event(&event_id, "Succeeded").await;
    assert_eq!(receiver.count(), 3);
    assert!(program.stop().await.success());
    database.discard().await;
}

/// PostgreSQL keeps the plan of a statement that was prepared while the table was empty.
#[tokio::test]
async fn payloads_are_looked_up_by_index_from_the_first_claim_on() {
    const EVENTS: i64 = 20;
    let database = TestDatabase::create().await;
    let program = Launch::serve("api,projector,dispatcher,worker", &database.url()).ready().await;
    let receiver = Receiver::answering(200).await;
    let tenant = Tenant::register(program.base()).await;
    let destination = tenant.destination(&receiver.url(), 1).await;
    for number in 0..EVENTS {
        let event_id = tenant.ingest(&destination, &json!({ "number": number })).await;
        tenant.until_event(&event_id, "Succeeded").await;
    }
    // A process reports its figures when it ends, at the latest.
    assert!(program.stop().await.success());
    let pool = database.pool().await;
    let (by_index, sequential) = until("the figures of the claims", async || {
        let scans =
            sqlx::query_as("SELECT idx_scan, seq_scan FROM pg_stat_user_tables WHERE relname = 'payloads'");
        let (by_index, sequential): (i64, i64) = scans.fetch_one(&pool).await.expect("the figures");
        (by_index + sequential >= EVENTS).then_some((by_index, sequential))
    })
    .await;
    assert!(sequential < EVENTS / 2, "{by_index} by index, {sequential} sequential");
    database.discard().await;
}
