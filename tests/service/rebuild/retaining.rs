//! What retention has removed does not come back, and is missed by nobody.

use hooksentry::clock;
use hooksentry::event_store::LogNotifier;
use hooksentry::projector::{Projector, Removed, Term};
use serde_json::Value;

use super::fixture::{Ground, ended};
use crate::harness::until;

/// Whether a session keeps retention from removing anything.
const PAUSED: &str = "
    SELECT count(*)
    FROM pg_locks
    WHERE locktype = 'advisory'
      AND classid = (hashtext('hooksentry.retention.pause')::bigint & 4294967295)::oid
      AND mode = 'ExclusiveLock'
      AND granted";

/// An event of the tenant that forgets, which is old and has not ended.
const WAITING: u128 = 0xa01;

/// Of 40 old events and 20 of today every other belongs to a tenant that forgets the old ones.
async fn ground() -> Ground {
    let ground = Ground::prepare().await;
    let registered = format!(
        r#"{{"TenantRegistered":{{"name":"Acme","owner":"{}","at":"2026-01-01T00:00:00Z",
        "resilience":{{"maxAttempts":10,"circuitBreakerTimer":300}},
        "retention":{{"payloadDays":null,"eventDays":1}},
        "webhookSecret":{{"sealed":{{"dataKey":"{}","ciphertext":"q83v"}},"fingerprint":"a3c2"}}}}}}"#,
        Ground::tenant(9),
        Ground::tenant(8),
    );
    ground.smuggle_in("Tenant", 1, 1, &registered).await;
    ground.deliver(0, 40).await;
    ground.deliver_at(40, 20, &clock::now().to_rfc3339()).await;
    accept(&ground, WAITING).await;
    show(&ground).await;
    ground
}

/// An old event of the tenant that forgets is accepted.
async fn accept(ground: &Ground, event: u128) {
    let accepted = format!(
        r#"{{"EventAccepted":{{"tenantId":"{}","destinationId":"{}","at":"2026-01-01T00:00:00Z",
        "payload":{{"sha256":"{}","bytes":1}}}}}}"#,
        Ground::tenant(1),
        Ground::tenant(12),
        "a".repeat(64),
    );
    ground.smuggle_in("WebhookEvent", event, 1, &accepted).await;
}

/// Folds all there is, and removes nothing.
async fn show(ground: &Ground) {
    drop(lead(ground).await);
    ground.until_shown().await;
}

/// The waiting event comes to its end.
async fn cancel(ground: &Ground) {
    let cancelled = format!(
        r#"{{"Cancelled":{{"destinationId":"{}","reason":"a test","at":"2026-01-02T00:00:00Z"}}}}"#,
        Ground::tenant(12),
    );
    ground.smuggle_in("WebhookEvent", WAITING, 2, &cancelled).await;
    show(ground).await;
}

async fn lead(ground: &Ground) -> Term {
    let projector = Projector::new(ground.pool.clone(), LogNotifier::within_process());
    let mut term = projector.lead().await.expect("a lead");
    while term.run_once().await.expect("a step").more {}
    term
}

/// A whole pass of retention; how many events and attempts it removed.
async fn forget(ground: &Ground) -> (u64, u64) {
    let mut term = lead(ground).await;
    let mut sum = (0, 0);
    loop {
        let step = term.remove_expired(clock::now()).await.expect("a step");
        sum = (sum.0 + step.events, sum.1 + step.attempts);
        if !step.more {
            return sum;
        }
    }
}

/// Everything that retention removes some of, and the statistics, of which it removes nothing.
async fn rows(ground: &Ground) -> Value {
    sqlx::query_scalar(
        "SELECT jsonb_build_object(
             'events', (SELECT jsonb_agg(to_jsonb(row) ORDER BY id) FROM webhook_events AS row),
             'counts', (
                 SELECT jsonb_agg(to_jsonb(row) ORDER BY tenant_id, destination_id, hours, starts_at)
                 FROM webhook_event_counts AS row
             ),
             'attempts', (SELECT jsonb_agg(to_jsonb(row) ORDER BY event_id) FROM delivery_attempts AS row),
             'statistics', (
                 SELECT jsonb_agg(to_jsonb(row) ORDER BY tenant_id, destination_id, hours, starts_at)
                 FROM delivery_statistics AS row
             )
         )",
    )
    .fetch_one(&ground.pool)
    .await
    .expect("rows")
}

#[tokio::test]
async fn what_was_removed_stays_away_when_read_models_are_built_anew() {
    let ground = ground().await;
    assert_eq!(forget(&ground).await, (20, 20));
    // A fact of an event that has left, of the first tenant.
    let erased = r#"{"PayloadErased":{"reason":"asked to","at":"2026-07-03T14:32:00.125Z"}}"#;
    ground.smuggle_in("WebhookEvent", 2, 4, erased).await;
    show(&ground).await;
    assert_eq!(ground.number("SELECT count(*) FROM webhook_events").await, 41);
    let before = rows(&ground).await;
    ground.hooksentry(&["verify-projections"]).await.well();
    for names in [&["--all"][..], &["delivery_attempts"], &["webhook_events"]] {
        let table = ground.table("delivery_attempts").await + ground.table("webhook_events").await;
        ground.hooksentry(&[&["rebuild"], names].concat()).await.well();
        assert_ne!(ground.table("delivery_attempts").await + ground.table("webhook_events").await, table);
        assert_eq!(rows(&ground).await, before, "{names:?}");
    }
    ground.hooksentry(&["verify-projections"]).await.well();

    // What ends late goes from the new rows, too.
    cancel(&ground).await;
    assert_eq!(forget(&ground).await, (1, 0));
    let before = rows(&ground).await;
    ground.hooksentry(&["rebuild", "--all"]).await.well();
    assert_eq!(rows(&ground).await, before);
}

#[tokio::test]
async fn what_was_removed_is_no_drift_and_everything_else_is() {
    let ground = ground().await;
    forget(&ground).await;
    // It has ended, is old enough to go, and has not gone.
    cancel(&ground).await;
    for names in [&[][..], &["webhook_events"], &["delivery_attempts"]] {
        let said = ground.hooksentry(&[&["verify-projections"], names].concat()).await.well();
        assert!(!said.output.contains("should be"), "{}", said.output);
    }

    let event = |number: u128| Ground::tenant(number).0.to_string();
    for change in [
        format!("UPDATE webhook_events SET failed_attempts = 7 WHERE id = '{}'", event(WAITING)),
        // Of the tenant that forgets, but young; of one that does not, and old.
        format!("DELETE FROM webhook_events WHERE id IN ('{}', '{}')", event(42), event(3)),
        format!("DELETE FROM delivery_attempts WHERE event_id IN ('{}', '{}')", event(42), event(5)),
    ] {
        ground.execute(&change).await;
    }
    let said = ground.hooksentry(&["verify-projections"]).await;
    let lines: Vec<&str> = said.output.lines().collect();
    for expected in [
        format!(r#"webhook_events ["{}"]: failed_attempts is 7 and should be 0"#, event(WAITING)),
        format!(r#"webhook_events ["{}"]: is missing; the log has it"#, event(42)),
        format!(r#"webhook_events ["{}"]: is missing; the log has it"#, event(3)),
        format!(r#"delivery_attempts ["{}",1]: is missing; the log has it"#, event(42)),
        format!(r#"delivery_attempts ["{}",1]: is missing; the log has it"#, event(5)),
    ] {
        assert!(lines.contains(&expected.as_str()), "no {expected:?} in {}", said.output);
    }
    said.with(1, &["5 rows are not what the log says"]);

    // What has not ended is missed, however old.
    ground.hooksentry(&["rebuild", "--all"]).await.well();
    ground.hooksentry(&["verify-projections"]).await.well();
    accept(&ground, 0xa02).await;
    show(&ground).await;
    let shown = ground.number("SELECT count(*) FROM webhook_events").await;
    ground.execute(&format!("DELETE FROM webhook_events WHERE id = '{}'", event(0xa02))).await;
    assert_eq!((shown, ground.number("SELECT count(*) FROM webhook_events").await), (42, 41));
    let said = ground.hooksentry(&["verify-projections", "webhook_events"]).await;
    said.with(1, &["1 rows are not what the log says"]);
}

#[tokio::test]
async fn nothing_is_removed_while_a_new_generation_takes_its_place() {
    let ground = ground().await;
    let mut term = lead(&ground).await;
    let reading = ground.read_on("webhook_events").await;
    let rebuilding = ground.start(&["rebuild", "webhook_events"]);
    until("retention to be paused", async || (ground.number(PAUSED).await > 0).then_some(())).await;
    // Also between holds of the checkpoint.
    let held = "SELECT count(*) FROM checkpoints WHERE held_until > clock_timestamp()";
    until("a hold to begin", async || (ground.number(held).await > 0).then_some(())).await;
    until("a hold to end", async || (ground.number(held).await == 0).then_some(())).await;
    let refused = Removed { more: true, ..Removed::default() };
    assert_eq!(term.remove_expired(clock::now()).await.expect("a step"), refused);
    assert_eq!(ground.number(PAUSED).await, 1, "it is still at it");
    reading.rollback().await.expect("its end");
    ended(rebuilding).await.well();
    drop(term);
    assert_eq!(forget(&ground).await, (20, 20));
    ground.hooksentry(&["verify-projections"]).await.well();
}
