//! How a bulk action is carried out: in steps, at its rate, after pauses and failures, and next to others.

use aggregates::bulk_action::BulkActionCommand;
use aggregates::ids::{BulkActionId, TenantId};
use hooksentry::clock;
use hooksentry::event_store::Metadata;
use sqlx::PgPool;

use super::{Installation, accept, counts, launch, replay, request, until_completed};
use crate::harness::process::run;
use crate::harness::tenant::Tenant;
use crate::harness::until;

/// Returns the number of replays, and of the events that were replayed.
async fn replays(pool: &PgPool) -> (i64, i64) {
    sqlx::query_as("SELECT count(*), count(DISTINCT aggregate_id) FROM events WHERE event_type = 'Replayed'")
        .fetch_one(pool)
        .await
        .expect("numbers")
}

#[tokio::test]
async fn after_a_pause_is_answered_no_event_is_replayed_until_it_is_resumed() {
    let installation = Installation::start().await;
    let Installation { tenant, destination, .. } = &installation;
    let other = tenant.destination("https://other.example.com/hooks", 5).await;
    installation.accept_failed(destination, 4).await;
    installation.accept_failed(&other, 1).await;
    let id = installation.request(&replay(destination, 1)).await;
    until("an event to be replayed", async || (counts(&installation.read(&id).await)[1] > 0).then_some(()))
        .await;
    let paused = installation.change(&id, "pause").await;
    assert_eq!(installation.change(&id, "pause").await, paused, "a repetition changes nothing");
    // Another one is carried out meanwhile.
    let next = installation.request(&replay(&other, 1)).await;
    installation.until_completed(&next).await;
    assert_eq!(installation.read(&id).await, paused);

    assert_eq!(installation.change(&id, "resume").await["state"], "Running");
    let before = counts(&paused)[1];
    until("it to continue", async || (counts(&installation.read(&id).await)[1] > before).then_some(())).await;
    let cancelled = installation.change(&id, "cancel").await;
    assert_eq!(cancelled["state"], "Cancelled");
    let (replayed, _) = replays(installation.pool()).await;
    assert_eq!(counts(&cancelled)[1] + 1, replayed.unsigned_abs(), "the other one replayed one event");
    for change in ["pause", "resume"] {
        let refused = tenant.post(&format!("bulk-actions/{id}/{change}")).await.expect(409);
        assert_eq!(refused.problem(), "bulk-action-ended");
    }
    assert_eq!(installation.change(&id, "cancel").await, cancelled);
    installation.stop().await;
}

#[tokio::test]
async fn the_rate_is_not_exceeded() {
    let installation = Installation::start().await;
    installation.accept_failed(&installation.destination, 5).await;
    let id = installation.request(&replay(&installation.destination, 1)).await;
    installation.until_completed(&id).await;
    let took: f64 = sqlx::query_scalar(
        "SELECT extract(epoch FROM max(recorded_at) - min(recorded_at))::float8
         FROM events
         WHERE event_type = 'Replayed'",
    )
    .fetch_one(installation.pool())
    .await
    .expect("a time");
    assert!(took > 2.0, "{took} s");
    installation.stop().await;
}

#[tokio::test]
async fn after_a_kill_it_continues_and_each_event_is_replayed_once() {
    const EVENTS: usize = 400;
    let mut installation = Installation::start().await;
    installation.accept_failed(&installation.destination, EVENTS).await;
    let id = installation.request(&replay(&installation.destination, 200)).await;
    until("some events to be replayed", async || {
        (counts(&installation.read(&id).await)[1] > 0).then_some(())
    })
    .await;
    let pool = installation.pool().clone();
    installation.process.kill().await;
    let (before, _) = replays(&pool).await;
    assert!((1..EVENTS as i64).contains(&before), "it was killed in the middle: {before}");

    let process = launch(&installation.database, &[]).await;
    installation.tenant = installation.tenant.at(process.base());
    installation.process = process;
    let action = installation.until_completed(&id).await;
    assert_eq!(counts(&action), [EVENTS as u64, EVENTS as u64, 0, 0, 0, 0]);
    assert_eq!(replays(installation.pool()).await, (EVENTS as i64, EVENTS as i64));
    // Read models equal the fold of the log.
    run(&["verify-projections"], &installation.database.url()).await.succeeded();
    installation.stop().await;
}

#[tokio::test]
async fn one_that_fails_does_not_keep_the_next_one_from_running() {
    let installation = Installation::start().await;
    let Installation { tenant, destination, .. } = &installation;
    let other = tenant.destination("https://other.example.com/hooks", 5).await;
    let failing = installation.accept_failed(destination, 1).await;
    let next = installation.accept_failed(&other, 1).await;
    let refuse = format!(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'a damaged page'; END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON events FOR EACH ROW
         WHEN (new.aggregate_id = '{}') EXECUTE FUNCTION refuse()",
        failing[0]
    );
    sqlx::raw_sql(&refuse).execute(installation.pool()).await.expect("a trigger");
    let first = installation.request(&replay(destination, 100)).await;
    let second = installation.request(&replay(&other, 100)).await;
    installation.until_completed(&second).await;
    assert!(installation.is_replayed(&next[0]).await && !installation.is_replayed(&failing[0]).await);
    assert_eq!(counts(&installation.read(&first).await), [0; 6]);
    sqlx::raw_sql("DROP TRIGGER refuse ON events").execute(installation.pool()).await.expect("no trigger");
    installation.until_completed(&first).await;
    assert!(installation.is_replayed(&failing[0]).await);
    installation.stop().await;
}

#[tokio::test]
async fn a_suspended_tenant_waits() {
    let installation = Installation::start().await;
    let Installation { tenant, destination, database, .. } = &installation;
    installation.accept_failed(destination, 4).await;
    let id = installation.request(&replay(destination, 1)).await;
    installation.change(&id, "pause").await;
    run(&["suspend-tenant", tenant.tenant_id(), "--reason", "spam"], &database.url()).await.succeeded();
    let (suspended_with, _) = replays(installation.pool()).await;
    // Its users cannot resume it any more.
    let tenant_id = TenantId(tenant.tenant_id().parse().expect("an id"));
    let resume = |_| BulkActionCommand::Resume { at: clock::now() };
    let metadata = Metadata::of_operator(tenant_id);
    let resumed = installation.store.change_bulk_action(
        tenant_id,
        BulkActionId(id.parse().expect("an id")),
        resume,
        &metadata,
    );
    resumed.await.expect("a bulk action that runs");
    // Those of another tenant are carried out.
    let neighbour = Tenant::register(installation.process.base()).await;
    let theirs = neighbour.destination("https://theirs.example.com/hooks", 5).await;
    accept(&neighbour, &theirs, 1).await;
    for _ in 0..2 {
        let next = request(&neighbour, &replay(&theirs, 1)).await;
        until_completed(&neighbour, &next).await;
    }
    let (now, _) = replays(installation.pool()).await;
    assert_eq!(now, suspended_with);
    run(&["resume-tenant", tenant.tenant_id()], &database.url()).await.succeeded();
    assert_eq!(counts(&installation.until_completed(&id).await)[..2], [4, 4]);
    installation.stop().await;
}
