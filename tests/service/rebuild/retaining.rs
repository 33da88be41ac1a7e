//! Rows that retention has removed do not come back, and do not count as drift.

use hooksentry::clock;
use hooksentry::projector::{Removed, Term};
use serde_json::Value;

use uuid::Uuid;

use crate::harness::log_fixture::Fixture;
use crate::harness::process::finished;
use crate::harness::until;

/// Whether a session keeps retention from removing anything.
const PAUSED: &str = "
    SELECT count(*)
    FROM pg_locks
    WHERE locktype = 'advisory'
      AND classid = (hashtext('hooksentry.retention.pause')::bigint & 4294967295)::oid
      AND mode = 'ExclusiveLock'
      AND granted";

/// An old event of the tenant with retention, which has not ended.
const WAITING: u128 = 0xa01;

/// A log of 40 old events and 20 of today; every other event belongs to a tenant whose retention removes the old ones.
async fn log_with_retention() -> Fixture {
    let fixture = Fixture::on_own_server().await;
    let registered = format!(
        r#"{{"TenantRegistered":{{"name":"Acme","owner":"{}","at":"2026-01-01T00:00:00Z",
        "resilience":{{"maxAttempts":10,"circuitBreakerTimer":300}},
        "retention":{{"payloadDays":null,"eventDays":1}},
        "webhookSecret":{{"sealed":{{"dataKey":"{}","ciphertext":"q83v"}},"fingerprint":"a3c2"}}}}}}"#,
        Fixture::tenant(9),
        Fixture::tenant(8),
    );
    fixture.insert_fact("Tenant", Uuid::from_u128(1), 1, &registered).await;
    fixture.deliver(0, 40).await;
    fixture.deliver_at(40, 20, &clock::now().to_rfc3339()).await;
    accept(&fixture, WAITING).await;
    show(&fixture).await;
    fixture
}

/// Inserts the acceptance of an old event of the tenant with retention.
async fn accept(fixture: &Fixture, event: u128) {
    let accepted = format!(
        r#"{{"EventAccepted":{{"tenantId":"{}","destinationId":"{}","at":"2026-01-01T00:00:00Z",
        "payload":{{"sha256":"{}","bytes":1}}}}}}"#,
        Fixture::tenant(1),
        Fixture::tenant(12),
        "a".repeat(64),
    );
    fixture.insert_fact("WebhookEvent", Uuid::from_u128(event), 1, &accepted).await;
}

/// Folds the whole log, and removes nothing.
async fn show(fixture: &Fixture) {
    drop(caught_up(fixture).await);
    fixture.until_shown().await;
}

/// Ends the waiting event.
async fn cancel(fixture: &Fixture) {
    let cancelled = format!(
        r#"{{"Cancelled":{{"destinationId":"{}","reason":"a test","at":"2026-01-02T00:00:00Z"}}}}"#,
        Fixture::tenant(12),
    );
    fixture.insert_fact("WebhookEvent", Uuid::from_u128(WAITING), 2, &cancelled).await;
    show(fixture).await;
}

async fn caught_up(fixture: &Fixture) -> Term {
    let mut term = fixture.lead().await;
    while term.run_once().await.expect("a step").more {}
    term
}

/// Runs a whole pass of retention. Returns how many events and attempts it removed.
async fn run_retention(fixture: &Fixture) -> (u64, u64) {
    let mut term = caught_up(fixture).await;
    let mut sum = (0, 0);
    loop {
        let step = term.remove_expired(clock::now()).await.expect("a step");
        sum = (sum.0 + step.events, sum.1 + step.attempts);
        if !step.more {
            return sum;
        }
    }
}

/// Returns the rows of all tables that retention removes rows from, and of the statistics, which it leaves.
async fn rows(fixture: &Fixture) -> Value {
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
    .fetch_one(&fixture.pool)
    .await
    .expect("rows")
}

#[tokio::test]
async fn rows_removed_by_retention_stay_removed_after_a_rebuild() {
    let fixture = log_with_retention().await;
    assert_eq!(run_retention(&fixture).await, (20, 20));
    // A fact of a removed event, of the tenant with retention.
    let erased = r#"{"PayloadErased":{"reason":"asked to","at":"2026-07-03T14:32:00.125Z"}}"#;
    fixture.insert_fact("WebhookEvent", Uuid::from_u128(2), 4, erased).await;
    show(&fixture).await;
    assert_eq!(fixture.number("SELECT count(*) FROM webhook_events").await, 41);
    let before = rows(&fixture).await;
    fixture.hooksentry(&["verify-projections"]).await.succeeded();
    for names in [&["--all"][..], &["delivery_attempts"], &["webhook_events"]] {
        let table = fixture.table("delivery_attempts").await + fixture.table("webhook_events").await;
        fixture.hooksentry(&[&["rebuild"], names].concat()).await.succeeded();
        assert_ne!(fixture.table("delivery_attempts").await + fixture.table("webhook_events").await, table);
        assert_eq!(rows(&fixture).await, before, "{names:?}");
    }
    fixture.hooksentry(&["verify-projections"]).await.succeeded();

    // An event that ends later is removed from the new rows, too.
    cancel(&fixture).await;
    assert_eq!(run_retention(&fixture).await, (1, 0));
    let before = rows(&fixture).await;
    fixture.hooksentry(&["rebuild", "--all"]).await.succeeded();
    assert_eq!(rows(&fixture).await, before);
}

#[tokio::test]
async fn rows_removed_by_retention_are_no_drift_and_all_others_are() {
    let fixture = log_with_retention().await;
    run_retention(&fixture).await;
    // The event has ended and expired, but was not removed yet.
    cancel(&fixture).await;
    for names in [&[][..], &["webhook_events"], &["delivery_attempts"]] {
        let said = fixture.hooksentry(&[&["verify-projections"], names].concat()).await.succeeded();
        assert!(!said.output.contains("should be"), "{}", said.output);
    }

    let event = |number: u128| Fixture::tenant(number).0.to_string();
    for change in [
        format!("UPDATE webhook_events SET failed_attempts = 7 WHERE id = '{}'", event(WAITING)),
        // A young event of the tenant with retention, and an old one of the other tenant.
        format!("DELETE FROM webhook_events WHERE id IN ('{}', '{}')", event(42), event(3)),
        format!("DELETE FROM delivery_attempts WHERE event_id IN ('{}', '{}')", event(42), event(5)),
    ] {
        fixture.execute(&change).await;
    }
    let said = fixture.hooksentry(&["verify-projections"]).await;
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
    said.failed_with(1, &["5 rows differ from the log"]);

    // An event that has not ended is missed, however old it is.
    fixture.hooksentry(&["rebuild", "--all"]).await.succeeded();
    fixture.hooksentry(&["verify-projections"]).await.succeeded();
    accept(&fixture, 0xa02).await;
    show(&fixture).await;
    let shown = fixture.number("SELECT count(*) FROM webhook_events").await;
    fixture.execute(&format!("DELETE FROM webhook_events WHERE id = '{}'", event(0xa02))).await;
    assert_eq!((shown, fixture.number("SELECT count(*) FROM webhook_events").await), (42, 41));
    let said = fixture.hooksentry(&["verify-projections", "webhook_events"]).await;
    said.failed_with(1, &["1 rows differ from the log"]);
}

#[tokio::test]
async fn retention_is_paused_while_tables_are_swapped() {
    let fixture = log_with_retention().await;
    let mut term = caught_up(&fixture).await;
    let reading = fixture.read_on("webhook_events").await;
    let rebuilding = fixture.start(&["rebuild", "webhook_events"]);
    until("retention to be paused", async || (fixture.number(PAUSED).await > 0).then_some(())).await;
    // Also between holds of the checkpoint.
    let held = "SELECT count(*) FROM checkpoints WHERE held_until > clock_timestamp()";
    until("a hold to begin", async || (fixture.number(held).await > 0).then_some(())).await;
    until("a hold to end", async || (fixture.number(held).await == 0).then_some(())).await;
    let refused = Removed { more: true, ..Removed::default() };
    assert_eq!(term.remove_expired(clock::now()).await.expect("a step"), refused);
    assert_eq!(fixture.number(PAUSED).await, 1, "retention is still paused");
    reading.rollback().await.expect("its end");
    finished(rebuilding).await.succeeded();
    drop(term);
    assert_eq!(run_retention(&fixture).await, (20, 20));
    fixture.hooksentry(&["verify-projections"]).await.succeeded();
}
