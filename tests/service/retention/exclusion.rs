//! What excludes retention: replays, another leader, read models that are behind.

use aggregates::attempt_outcome::Outcome;
use aggregates::ids::WebhookEventId;
use aggregates::webhook_event::WebhookEvent;
use aggregates::webhook_event::WebhookEventCommand;
use chrono::DateTime;
use chrono::TimeDelta;
use chrono::Utc;
use hooksentry::clock;
use hooksentry::event_store::Metadata;
use hooksentry::event_store::StreamAppend;
use hooksentry::projector::Removed;
use hooksentry::projector::TermEnded;
use projections::checkpoints::CheckpointFailure;
use projections::retention;

use super::{ACME, days, tenant_with};
use crate::harness::log_fixture::Fixture;

#[tokio::test]
async fn a_leader_that_lost_the_lead_removes_nothing() {
    let fixture = tenant_with(days(7, 30)).await;
    let old = fixture.cancelled(40).await;
    let mut term = fixture.lead().await;
    fixture.catch_up(&mut term).await;
    sqlx::query("UPDATE checkpoints SET epoch = epoch + 1")
        .execute(&fixture.pool)
        .await
        .expect("another lead");
    let ended = term.remove_expired(clock::now()).await.expect_err("a lead that is lost");
    assert!(matches!(ended, TermEnded::Checkpoint(CheckpointFailure::Fenced)), "{ended:?}");
    assert_eq!((fixture.payloads().await, fixture.events_shown().await), (vec![old], vec![old]));
    drop(term);
    fixture.discard().await;
}

#[tokio::test]
async fn a_replayed_event_keeps_its_payload() {
    let fixture = tenant_with(days(7, 30)).await;
    let failed = fixture.accept(40).await;
    fixture.attempt(failed, Outcome::Timeout).await;
    let mut term = fixture.lead().await;
    fixture.catch_up(&mut term).await;
    // A replay that has not been committed keeps retention out; one that has been is seen, although the
    // row does not show it.
    let mut replay = fixture.pool.begin().await.expect("a transaction");
    retention::hold_off(&mut replay, ACME).await.expect("a lock");
    let step = term.remove_expired(clock::now()).await.expect("a step");
    assert_eq!(step, Removed { more: true, ..Removed::default() });
    replay.rollback().await.expect("an end");
    assert!(replayed(&fixture, failed).await);
    while term.remove_expired(clock::now()).await.expect("a step").more {}
    assert_eq!(fixture.payloads().await, [failed]);
    assert_eq!(fixture.events_shown().await, [failed]);

    fixture.attempt(failed, Outcome::Timeout).await;
    fixture.pass(&mut term).await;
    assert_eq!((fixture.payloads().await, fixture.events_shown().await), (vec![], vec![]));
    assert!(!replayed(&fixture, failed).await, "there is nothing to deliver");
    drop(term);
    fixture.discard().await;
}

#[tokio::test]
async fn nothing_is_removed_while_the_read_models_are_behind() {
    let fixture = tenant_with(days(7, 30)).await;
    fixture.cancelled(40).await;
    let mut term = fixture.lead().await;
    assert_eq!(term.remove_expired(clock::now()).await.expect("a step"), Removed::default());
    fixture.catch_up(&mut term).await;
    let in_a_while: DateTime<Utc> = clock::now() + TimeDelta::hours(2);
    assert_eq!(term.remove_expired(in_a_while).await.expect("a step"), Removed::default());
    assert_eq!(fixture.payloads().await.len(), 1);
    assert!(!fixture.pass(&mut term).await.is_empty());
    drop(term);
    fixture.discard().await;
}

#[tokio::test]
async fn concurrent_replays_and_retention_exclude_each_other() {
    let fixture = tenant_with(days(7, 30)).await;
    let mut ids = vec![];
    for _ in 0..40 {
        let id = fixture.accept(40).await;
        fixture.attempt(id, Outcome::Timeout).await;
        ids.push(id);
    }
    let mut term = fixture.lead().await;
    fixture.catch_up(&mut term).await;
    let replays = async {
        let mut done = vec![];
        for id in ids.iter().rev() {
            if replayed(&fixture, *id).await {
                done.push(*id);
            }
        }
        done
    };
    let retain = async { while term.remove_expired(clock::now()).await.expect("a step").more {} };
    let (mut replayed, ()) = tokio::join!(replays, retain);
    replayed.sort_unstable_by_key(|id| id.0);
    assert_eq!(fixture.payloads().await, replayed, "every replayed event has a payload to deliver");
    assert_eq!(fixture.events_shown().await, replayed);
    fixture.catch_up(&mut term).await;
    drop(term);
    fixture.discard().await;
}

/// Replays an event as the API does. Returns whether there was a payload.
async fn replayed(fixture: &Fixture, id: WebhookEventId) -> bool {
    let mut loaded = fixture.store.load::<WebhookEvent>(id.0).await.expect("an event");
    let version = loaded.version;
    let facts = loaded.decide(WebhookEventCommand::Replay { at: clock::now() }).expect("given up");
    let metadata = Metadata::of_role(ACME, "test");
    let append = StreamAppend::new::<WebhookEvent>(id.0, version, &facts, &metadata).expect("JSON");
    fixture.store.append_with_payload(ACME, id, append).await.expect("an append").is_some()
}
