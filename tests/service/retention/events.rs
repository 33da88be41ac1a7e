//! Removing events from the read models.

use aggregates::attempt_outcome::Outcome;
use aggregates::webhook_event::WebhookEventCommand;
use hooksentry::clock;
use hooksentry::projector::Removed;

use super::{ACME, days, tenant_with};

#[tokio::test]
async fn events_are_removed_with_their_attempts_and_payloads() {
    let fixture = tenant_with(days(None, 30)).await;
    let delivered = fixture.accept(40).await;
    fixture.attempt(delivered, Outcome::Succeeded).await;
    let waiting = fixture.accept(40).await;
    let young = fixture.accept(29).await;
    fixture.attempt(young, Outcome::Timeout).await;
    let mut term = fixture.lead().await;
    let steps = fixture.pass(&mut term).await;
    assert_eq!((steps[0].payloads, steps[1].events, steps[1].attempts), (1, 1, 1));
    assert_eq!(fixture.events_shown().await, [waiting, young]);
    assert_eq!(fixture.attempted().await, [young]);
    assert_eq!(fixture.payloads().await, [waiting, young]);

    // An event that is too old when it ends is listed until the next pass.
    fixture.attempt(waiting, Outcome::Timeout).await;
    fixture.catch_up(&mut term).await;
    assert_eq!(fixture.events_shown().await, [waiting, young]);
    fixture.pass(&mut term).await;
    assert_eq!((fixture.events_shown().await, fixture.attempted().await), (vec![young], vec![young]));
    assert_eq!((fixture.payloads().await, fixture.exceptions().await), (vec![young], vec![]));

    // Later facts of removed events halt no projection.
    for gone in [delivered, waiting] {
        let erase = WebhookEventCommand::ErasePayload {
            reason: "a test".to_owned(),
            requested_by: None,
            at: clock::now(),
        };
        fixture.command(ACME, gone, erase).await;
    }
    fixture.pass(&mut term).await;
    let halted: i64 = sqlx::query_scalar("SELECT count(*) FROM checkpoints WHERE halted_because IS NOT NULL")
        .fetch_one(&fixture.pool)
        .await
        .expect("checkpoints");
    assert_eq!((halted, fixture.events_shown().await), (0, vec![young]));
    drop(term);
    fixture.discard().await;
}

#[tokio::test]
async fn many_events_are_removed_in_small_steps_and_another_leader_continues() {
    let fixture = tenant_with(days(7, 30)).await;
    let mut ids = vec![];
    for _ in 0..1_203 {
        ids.push(fixture.accept(40).await);
    }
    for id in ids.iter().filter(|id| id.0.as_u128() % 10 != 0) {
        fixture.cancel(*id).await;
    }
    let mut term = fixture.lead().await;
    fixture.catch_up(&mut term).await;
    let first = term.remove_expired(clock::now()).await.expect("a step");
    assert_eq!((first.payloads, first.events, first.more), (450, 0, true));
    drop(term);

    let mut term = fixture.lead().await;
    let steps = fixture.pass(&mut term).await;
    assert!(steps.iter().all(|step| step.payloads.max(step.events) <= 500), "{steps:?}");
    let sum = |of: fn(&Removed) -> u64| steps.iter().map(of).sum::<u64>();
    assert_eq!((sum(|step| step.payloads), sum(|step| step.events)), (1_083 - 450, 1_083));
    let waiting: Vec<_> = ids.into_iter().filter(|id| id.0.as_u128() % 10 == 0).collect();
    assert_eq!(fixture.payloads().await, waiting);
    assert_eq!(fixture.events_shown().await, waiting);
    assert_eq!(fixture.exceptions().await, waiting);

    for id in &waiting {
        fixture.cancel(*id).await;
    }
    fixture.pass(&mut term).await;
    assert_eq!((fixture.payloads().await, fixture.events_shown().await), (vec![], vec![]));
    drop(term);
    fixture.discard().await;
}
