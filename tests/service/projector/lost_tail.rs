//! A failover that loses the last commits, while the processes live on.

use hooksentry::event_store::RecentLog;

use crate::harness::log_fixture::Fixture;
use crate::harness::postgres::lose_facts;

#[tokio::test]
async fn facts_that_were_lost_are_not_folded_from_the_cache() {
    let fixture = Fixture::new().await;
    let recent = RecentLog::default();
    let projector = || fixture.projector().sharing(recent.clone());
    let mut term = projector().lead().await.expect("the lead");
    let (kept, checkpoint) = fixture.register_tenant(1).await;
    fixture.catch_up(&mut term).await;
    let (lost, _) = fixture.register_tenant(2).await;
    fixture.catch_up(&mut term).await;
    assert!(fixture.tenant_is_shown(lost).await);
    drop(term);

    lose_facts(&fixture.pool, &format!("aggregate_id = '{lost}'")).await;
    fixture.execute(&format!("DELETE FROM tenants WHERE id = '{lost}'")).await;
    fixture
        .execute(&format!(
            "UPDATE checkpoints SET transaction_id = '{}', position = {}",
            checkpoint.transaction_id, checkpoint.position
        ))
        .await;
    let (next, _) = fixture.register_tenant(3).await;
    let mut term = projector().lead().await.expect("the lead");
    fixture.catch_up(&mut term).await;

    assert!(fixture.tenant_is_shown(kept).await && fixture.tenant_is_shown(next).await);
    assert!(!fixture.tenant_is_shown(lost).await, "the log no longer has this tenant");
    fixture.discard().await;
}
