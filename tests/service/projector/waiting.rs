//! Waiting until the read models show a fact.

use std::time::Duration;

use hooksentry::projector::Projected;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::harness::log_fixture::Fixture;
use crate::harness::{WAIT_TIMEOUT, until};

#[tokio::test]
async fn a_command_that_waited_finds_its_facts_shown() {
    let fixture = Fixture::new().await;
    let projector = fixture.projector();
    let (here, elsewhere) = (projector.projected(), Projected::elsewhere(fixture.pool.clone()));
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    tasks.spawn(projector.run(stop.clone()));
    for number in 1..20 {
        let (tenant, position) = fixture.register_tenant(number).await;
        let projected = if number % 2 == 0 { &here } else { &elsewhere };
        assert!(projected.wait(position, WAIT_TIMEOUT).await);
        assert!(fixture.tenant_is_shown(tenant).await);
    }
    stop.cancel();
    tasks.close();
    tasks.wait().await;

    // No process projects any more: the wait times out, and returns false.
    let (tenant, position) = fixture.register_tenant(20).await;
    assert!(!here.wait(position, Duration::from_millis(50)).await);
    assert!(!elsewhere.wait(position, Duration::from_millis(50)).await);
    assert!(!fixture.tenant_is_shown(tenant).await);
    fixture.discard().await;
}

#[tokio::test]
async fn a_projection_that_is_far_behind_is_not_waited_for() {
    // On its own server, because the projection gets nearer with every step that is held back.
    let fixture = Fixture::on_own_server().await;
    fixture.register_tenant(1).await;
    sqlx::query(
        r#"
        INSERT INTO events
            (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
        SELECT 'Spaceship', gen_random_uuid()::text, 1, 'Launched', '1.0', '{}', '{}'
        FROM generate_series(1, 30000)
        "#,
    )
    .execute(&fixture.pool)
    .await
    .expect("the log takes it");
    let mut term = fixture.lead().await;
    fixture.catch_up(&mut term).await;
    fixture.register_tenant(2).await;
    fixture.catch_up(&mut term).await;
    drop(term);

    sqlx::query("DELETE FROM checkpoints WHERE reader = 'users'")
        .execute(&fixture.pool)
        .await
        .expect("no row");
    let projector = fixture.projector();
    let (here, elsewhere) = (projector.projected(), Projected::elsewhere(fixture.pool.clone()));
    let mut term = projector.lead().await.expect("the lead");
    let (tenant, position) = fixture.register_tenant(3).await;
    until("the front to move", async || {
        term.run_once().await.expect("a step");
        fixture.tenant_is_shown(tenant).await.then_some(())
    })
    .await;
    assert!(!fixture.users_reached(position).await);
    assert!(here.wait(position, WAIT_TIMEOUT).await);
    assert!(elsewhere.wait(position, WAIT_TIMEOUT).await);
    fixture.discard().await;
}
