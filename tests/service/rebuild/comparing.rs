//! Live rows that were changed by hand are found, reported without secrets, and repaired by a rebuild.

use uuid::Uuid;

use crate::harness::log_fixture::Fixture;
use crate::harness::process::run;

/// Returns the id of an event of the fixture.
fn event(number: u32) -> String {
    format!("00000000-0000-0000-0000-{number:012x}")
}

/// Changes, deletes and adds rows of several read models.
async fn change_rows_by_hand(fixture: &Fixture) {
    for change in [
        format!("UPDATE webhook_events SET attempts = 7, status = 5 WHERE id = '{}'", event(5)),
        format!("DELETE FROM webhook_events WHERE id = '{}'", event(6)),
        format!(
            "INSERT INTO webhook_events SELECT '{}', tenant_id, destination_id, sender_id, accepted_at,
                 next_attempt_at, delivered_at, version, failed_attempts, attempts, status
             FROM webhook_events WHERE id = '{}'",
            event(1_000),
            event(7)
        ),
        format!("DELETE FROM delivery_attempts WHERE event_id = '{}'", event(8)),
        "UPDATE delivery_statistics SET succeeded = 0, position = 1 WHERE hours = 24".to_owned(),
        format!("UPDATE api_keys SET key_hash = '{}', name = 'theirs'", "f".repeat(64)),
        "UPDATE users SET email_version = 7, role = 10".to_owned(),
    ] {
        fixture.execute(&change).await;
    }
}

#[tokio::test]
async fn rows_that_differ_are_listed() {
    let fixture = Fixture::with_events(50).await;
    let hash = "e".repeat(64);
    let issued = format!(
        r#"{{"ApiKeyIssued":{{"tenantId":"{}","name":"ours","keyHash":"{hash}","at":"2026-01-01T00:00:00Z"}}}}"#,
        Fixture::tenant(1),
    );
    fixture.insert_fact("ApiKey", Uuid::from_u128(0xa1), 1, &issued).await;
    fixture.insert_registered_user(0xb1).await;
    let projector = fixture.start_projector();
    fixture.until_shown().await;
    projector.stop().await;
    let said = fixture.hooksentry(&["verify-projections"]).await.succeeded();
    // With the counts of two tenants and a destination of each, for an hour and for its day.
    assert!(said.output.contains("webhook_events: 0 of 58 rows differ at transaction"), "{}", said.output);
    assert!(said.output.contains("api_keys: 0 of 1 rows differ"), "{}", said.output);

    change_rows_by_hand(&fixture).await;
    let said = fixture.hooksentry(&["verify-projections"]).await;
    let lines: Vec<&str> = said.output.lines().collect();
    for expected in [
        format!(
            r#"webhook_events ["{}"]: attempts is 7 and should be 1; status is 5 and should be 2"#,
            event(5)
        ),
        format!(r#"webhook_events ["{}"]: is missing; the log has it"#, event(6)),
        format!(r#"webhook_events ["{}"]: is not in the log"#, event(1_000)),
        format!(r#"delivery_attempts ["{}",1]: is missing; the log has it"#, event(8)),
        format!(r#"api_keys ["{}"]: key_hash is different; name is different"#, event(0xa1)),
        format!(
            r#"users ["{}"]: email_version is 7 and should be 1; role is 10 and should be 20"#,
            event(0xb1)
        ),
    ] {
        assert!(lines.contains(&expected.as_str()), "no {expected:?} in {}", said.output);
    }
    let bucket = "24,\"2026-01-01T00:00:00+00:00\"]: position is 1 and should be";
    assert!(lines.iter().any(|line| line.contains(bucket)), "{}", said.output);
    assert!(said.output.contains("webhook_events: 3 of 59 rows differ"), "{}", said.output);
    for secret in ["eee", "fff", "theirs"] {
        assert!(!said.output.contains(secret) && !said.errors.contains(secret), "{}", said.output);
    }
    said.failed_with(
        1,
        &["10 rows differ from the log", "`hooksentry rebuild users api_keys webhook_events"],
    );

    // Only what was asked for is compared.
    fixture.hooksentry(&["verify-projections", "tenants", "senders"]).await.succeeded();
    fixture.hooksentry(&["verify-projections", "users"]).await.failed_with(1, &["1 rows differ"]);
    fixture.hooksentry(&["rebuild", "--all"]).await.succeeded();
    fixture.hooksentry(&["verify-projections"]).await.succeeded();
    let left = "SELECT count(*) FROM pg_namespace WHERE nspname = 'verifying'";
    assert_eq!(fixture.number(left).await, 0);
}

#[tokio::test]
async fn of_many_rows_that_differ_all_are_counted_and_some_listed() {
    let fixture = Fixture::with_events(300).await;
    // What is not counted: the counts are right.
    fixture.execute("UPDATE webhook_events SET attempts = 2").await;
    let said = fixture.hooksentry(&["verify-projections", "webhook_events"]).await;
    let told = said.output.lines().filter(|line| line.contains("attempts is 2 and should be 1")).count();
    assert_eq!(told, 100);
    assert!(said.output.contains("webhook_events: 300 of 308 rows differ"), "{}", said.output);
    assert!(said.output.contains("200 more rows differ than are listed"), "{}", said.output);
    said.failed_with(1, &["300 rows differ from the log"]);
}

#[tokio::test]
async fn a_failed_comparison_reports_neither_equality_nor_drift() {
    let fixture = Fixture::with_events(5).await;
    let nowhere =
        run(&["verify-projections", "--start-timeout", "1s"], "postgres://stranger@127.0.0.1:1/x").await;
    nowhere.failed_with(2, &["could not be compared", "could not be reached"]);

    // A fact that this program cannot read.
    fixture.insert_fact("WebhookEvent", Uuid::from_u128(0x77), 1, r#"{"EventForgotten":{}}"#).await;
    fixture
        .execute(
            "UPDATE checkpoints SET position = (SELECT max(position) FROM events), transaction_id = '999999'",
        )
        .await;
    let said = fixture.hooksentry(&["verify-projections", "webhook_events"]).await;
    said.failed_with(
        2,
        &["webhook_events cannot be folded from the log", "00000000-0000-0000-0000-000000000077"],
    );
    let left = "SELECT count(*) FROM pg_namespace WHERE nspname = 'verifying'";
    assert_eq!(fixture.number(left).await, 0);
}
