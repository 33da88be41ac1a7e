//! Streams that the log has with a gap.

use hooksentry::projector::ProjectorHealth;
use uuid::Uuid;

use crate::harness::log_fixture::Fixture;
use crate::harness::postgres::lose_facts;

#[tokio::test]
async fn streams_with_a_gap_are_quarantined_and_stop_nothing_else() {
    let fixture = Fixture::on_own_server().await;
    let (unstarted, unaccepted) = (Uuid::from_u128(4), Uuid::from_u128(5));
    fixture.deliver(0, 10).await;
    let lost = format!(
        "(aggregate_id = '{unstarted}' AND sequence = 2) OR (aggregate_id = '{unaccepted}' AND sequence = 1)"
    );
    lose_facts(&fixture.pool, &lost).await;
    let projector = fixture.start_projector();
    fixture.until_shown().await;

    let health = ProjectorHealth::new(fixture.pool.clone()).look().await.expect("the health");
    assert_eq!(health.halted().count(), 0, "{health:?}");
    assert_eq!(health.quarantined_streams, 2);
    let delivered = "SELECT count(*) FROM webhook_events WHERE delivered_at IS NOT NULL";
    assert_eq!(fixture.number(delivered).await, 8);
    assert_eq!(fixture.number("SELECT count(*) FROM webhook_events").await, 9, "one as of before its gap");
    let listed = fixture.hooksentry(&["quarantine"]).await.succeeded().output;
    assert!(listed.contains(&format!("WebhookEvent {unstarted}, tenant")), "{listed}");
    assert!(listed.contains("version 2 is missing"), "{listed}");
    assert!(listed.contains(&format!("WebhookEvent {unaccepted}, tenant")), "{listed}");
    assert!(listed.contains("version 1 is missing"), "{listed}");

    fixture.deliver(10, 5).await;
    fixture.until_shown().await;
    projector.stop().await;
    assert_eq!(fixture.number(delivered).await, 13);
    fixture.hooksentry(&["verify-projections"]).await.succeeded();
    fixture.hooksentry(&["rebuild", "--all"]).await.succeeded();
    assert_eq!(fixture.number(delivered).await, 13);
    fixture.hooksentry(&["verify-projections"]).await.succeeded();
    // A new leader reads what is in quarantine.
    let projector = fixture.start_projector();
    fixture.deliver(15, 5).await;
    fixture.until_shown().await;
    projector.stop().await;
    assert_eq!(fixture.number(delivered).await, 18);
    fixture.discard().await;
}

/// A gap that the projector has not met yet.
#[tokio::test]
async fn a_rebuild_finds_a_gap_by_itself() {
    let fixture = Fixture::with_events(10).await;
    lose_facts(&fixture.pool, "aggregate_id = '00000000-0000-0000-0000-000000000004' AND sequence = 2").await;
    fixture.hooksentry(&["rebuild", "webhook_events"]).await.succeeded();
    let delivered = "SELECT count(*) FROM webhook_events WHERE delivered_at IS NOT NULL";
    assert_eq!(fixture.number(delivered).await, 9);
    fixture.discard().await;
}
