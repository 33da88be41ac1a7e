//! Changes of the lead, and several sealers at once.

use hooksentry::sealer::TermEnded;
use projections::checkpoints::CheckpointFailure;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{tenant, with_keys};
use crate::harness::log_fixture::Fixture;
use crate::harness::{WAIT_TIMEOUT, until};

#[tokio::test]
async fn a_sealer_that_lost_the_lead_writes_nothing_more() {
    let fixture = Fixture::new().await;
    let mut old = fixture.seal_term(&with_keys(&[1])).await;
    fixture.append_facts(tenant(1), 300).await;
    fixture.seal_all(&mut old).await;

    // The server ends the session that holds the lead, as it does when a machine does not answer.
    sqlx::query(
        "SELECT pg_terminate_backend(pid) FROM pg_locks
         WHERE locktype = 'advisory'
           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    .execute(&fixture.pool)
    .await
    .expect("its end");
    let settings = with_keys(&[1]);
    let sealer = fixture.sealer(&settings);
    let mut new = tokio::time::timeout(WAIT_TIMEOUT, sealer.lead())
        .await
        .expect("a lead that is free")
        .expect("the lead");

    fixture.execute("UPDATE evidence_trees SET sealed_size = 0").await;
    let refusal = old.seal().await.expect_err("a sealing of the old leader");
    assert!(matches!(refusal, TermEnded::Checkpoint(CheckpointFailure::Fenced)), "{refusal:?}");
    fixture.execute("UPDATE evidence_trees SET sealed_size = size").await;
    fixture.append_facts(tenant(1), 300).await;
    let refusal = until("the old sealer to see the facts", async || old.append().await.err()).await;
    assert!(matches!(refusal, TermEnded::Checkpoint(CheckpointFailure::Fenced)), "{refusal:?}");
    drop(old);
    fixture.seal_all(&mut new).await;
    fixture.assert_sealed(tenant(1)).await;
    fixture.discard().await;
}

#[tokio::test]
async fn a_fact_is_logged_once_however_often_the_sealer_is_replaced() {
    let fixture = Fixture::new().await;
    let tasks = TaskTracker::new();
    let mut running = CancellationToken::new();
    tasks.spawn(fixture.sealer(&with_keys(&[1])).run(running.clone()));
    let mut standby = CancellationToken::new();
    tasks.spawn(fixture.sealer(&with_keys(&[1])).run(standby.clone()));
    for _ in 0..4 {
        fixture.append_facts(tenant(1), 150).await;
        fixture.append_facts(tenant(2), 20).await;
        let sealed = fixture.number("SELECT count(*) FROM evidence_checkpoints").await;
        until("the next checkpoint", async || {
            let more = fixture.number("SELECT count(*) FROM evidence_checkpoints").await > sealed;
            more.then_some(())
        })
        .await;
        running.cancel();
        running = std::mem::take(&mut standby);
        tasks.spawn(fixture.sealer(&with_keys(&[1])).run(standby.clone()));
    }
    for (number, size) in [(1, 600), (2, 80)] {
        until("all facts to be signed", async || {
            let sealed = fixture.last_sealed(tenant(number)).await?;
            (sealed.head().size == size).then_some(())
        })
        .await;
        fixture.assert_sealed(tenant(number)).await;
    }
    running.cancel();
    standby.cancel();
    tasks.close();
    tasks.wait().await;
    fixture.discard().await;
}
