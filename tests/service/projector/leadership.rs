//! Changes of the lead.

use hooksentry::projector::{Projected, TermEnded};
use projections::checkpoints::CheckpointFailure;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::harness::log_fixture::Fixture;
use crate::harness::{WAIT_TIMEOUT, until};

#[tokio::test]
async fn a_leader_that_lost_the_lead_writes_nothing_more() {
    let fixture = Fixture::new().await;
    let mut old = fixture.lead().await;
    fixture.register_tenant(1).await;
    fixture.catch_up(&mut old).await;

    // The server ends the session that holds the lead, as it does when a machine does not answer.
    sqlx::query(
        "SELECT pg_terminate_backend(pid) FROM pg_locks
         WHERE locktype = 'advisory'
           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    .execute(&fixture.pool)
    .await
    .expect("its end");
    let mut new = tokio::time::timeout(WAIT_TIMEOUT, fixture.projector().lead())
        .await
        .expect("a lead that is free")
        .expect("the lead");

    let (tenant, _) = fixture.register_tenant(2).await;
    let refusal = until("the old leader to see the fact", async || old.run_once().await.err()).await;
    assert!(matches!(refusal, TermEnded::Checkpoint(CheckpointFailure::Fenced)), "{refusal:?}");
    assert!(!fixture.tenant_is_shown(tenant).await);
    fixture.catch_up(&mut new).await;
    assert!(fixture.tenant_is_shown(tenant).await);
    fixture.discard().await;
}

#[tokio::test]
async fn another_process_takes_over_when_the_leader_stops() {
    let fixture = Fixture::new().await;
    let (stop_one, stop_two, tasks) =
        (CancellationToken::new(), CancellationToken::new(), TaskTracker::new());
    tasks.spawn(fixture.projector().run(stop_one.clone()));
    let projected = Projected::elsewhere(fixture.pool.clone());
    let (_, position) = fixture.register_tenant(1).await;
    assert!(projected.wait(position, WAIT_TIMEOUT).await);
    tasks.spawn(fixture.projector().run(stop_two.clone()));

    stop_one.cancel();
    for number in 2..5 {
        let (_, position) = fixture.register_tenant(number).await;
        assert!(projected.wait(position, WAIT_TIMEOUT).await);
    }
    stop_two.cancel();
    tasks.close();
    tasks.wait().await;
    fixture.discard().await;
}
