//! Projections at different positions of the log.

use std::time::Duration;

use aggregates::role::UserStatus;
use hooksentry::projector::Projected;
use projections::{Projection, checkpoints};
use uuid::Uuid;

use crate::harness::log_fixture::Fixture;
use crate::harness::until;

#[tokio::test]
async fn a_projection_that_is_behind_catches_up_while_the_others_continue() {
    // On its own server, because open transactions of other tests would hold readers back too.
    let fixture = Fixture::on_own_server().await;
    let mut term = fixture.lead().await;
    let (user, _) = fixture.register_user(1).await;
    for number in 2..1_200 {
        fixture.insert_fact("Spaceship", Uuid::from_u128(number), 1, r#"{"Launched":{}}"#).await;
    }
    fixture.register_tenant(1).await;
    fixture.catch_up(&mut term).await;
    drop(term);

    // As after an upgrade with a new projection.
    sqlx::query("TRUNCATE users").execute(&fixture.pool).await.expect("no rows");
    sqlx::query("DELETE FROM checkpoints WHERE reader = 'users'")
        .execute(&fixture.pool)
        .await
        .expect("no row");
    let (tenant, position) = fixture.register_tenant(2).await;
    let mut term = fixture.lead().await;
    until("the front to move", async || {
        term.run_once().await.expect("a step");
        fixture.tenant_is_shown(tenant).await.then_some(())
    })
    .await;
    assert!(!fixture.users_reached(position).await, "one page is not enough");
    fixture.catch_up(&mut term).await;
    assert!(fixture.user_is_shown(user).await);

    // At the same position they move together: one step applies a fact to all.
    let (next, _) = fixture.register_user(3).await;
    fixture.catch_up(&mut term).await;
    assert!(fixture.user_is_shown(next).await);
    fixture.discard().await;
}

#[tokio::test]
async fn the_others_continue_while_a_projection_is_held() {
    let fixture = Fixture::new().await;
    let mut term = fixture.lead().await;
    fixture.register_tenant(1).await;
    fixture.catch_up(&mut term).await;

    let mut holder = fixture.pool.acquire().await.expect("a connection");
    checkpoints::hold(&mut holder, Projection::Users.name(), Duration::from_secs(3_600))
        .await
        .expect("a hold");
    let (user, _) = fixture.register_user(1).await;
    let (tenant, position) = fixture.register_tenant(2).await;
    until("the front to move", async || {
        term.run_once().await.expect("a step");
        fixture.tenant_is_shown(tenant).await.then_some(())
    })
    .await;
    assert!(!fixture.user_is_shown(user).await);
    assert!(
        !Projected::elsewhere(fixture.pool.clone()).wait(position, Duration::from_millis(20)).await,
        "a held projection is waited for"
    );
    checkpoints::release(&mut holder, Projection::Users.name()).await.expect("its end");
    fixture.catch_up(&mut term).await;
    assert!(fixture.user_is_shown(user).await);
    drop(holder);
    fixture.discard().await;
}

#[tokio::test]
async fn the_fact_of_a_slow_writer_is_not_skipped() {
    // On its own server, because open transactions of other tests would hold readers back too.
    let fixture = Fixture::on_own_server().await;
    let mut term = fixture.lead().await;
    let (user, _) = fixture.register_user(1).await;

    // Its position is assigned now, and its commit follows later.
    let mut slow = fixture.pool.begin().await.expect("a transaction");
    sqlx::query(
        r#"
        INSERT INTO events
            (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
        VALUES ('User', $1, 2, 'UserDeactivated', '1.0',
                '{"UserDeactivated":{"at":"2026-01-01T00:00:00Z"}}',
                '{"tenantId":"00000000-0000-0000-0000-000000000001"}')
        "#,
    )
    .bind(user.to_string())
    .execute(&mut *slow)
    .await
    .expect("the log takes it");
    let (tenant, _) = fixture.register_tenant(1).await;

    // Facts committed after it have to wait for it.
    while term.run_once().await.expect("a step").facts > 0 {}
    assert!(fixture.user_is_shown(user).await);
    assert!(!fixture.tenant_is_shown(tenant).await);
    slow.commit().await.expect("a commit");
    fixture.catch_up(&mut term).await;
    assert!(fixture.tenant_is_shown(tenant).await);
    let status: i16 =
        sqlx::query_scalar("SELECT status FROM users").fetch_one(&fixture.pool).await.expect("a row");
    assert_eq!(status, UserStatus::Inactive.number());
    fixture.discard().await;
}
