//! Erasing payloads.

use aggregates::attempt_outcome::Outcome;
use aggregates::ids::TenantId;
use aggregates::tenant::Retention;
use aggregates::tenant::Tenant;
use aggregates::tenant::TenantCommand;
use aggregates::webhook_event::WebhookEventCommand;
use hooksentry::clock;
use hooksentry::event_store::Metadata;
use hooksentry::projector::Removed;
use uuid::Uuid;

use super::{ACME, days, tenant_with};

#[tokio::test]
async fn payloads_are_erased_after_their_days_once_their_events_have_ended() {
    let fixture = tenant_with(days(7, None)).await;
    let other = TenantId(Uuid::from_u128(0xb0b));
    fixture.register_with(other, Retention::default()).await;
    let delivered = fixture.accept(30).await;
    fixture.attempt(delivered, Outcome::Succeeded).await;
    let failed = fixture.accept(20).await;
    fixture.attempt(failed, Outcome::Timeout).await;
    let cancelled = fixture.cancelled(8).await;
    let waiting = fixture.accept(30).await;
    let young = fixture.cancelled(6).await;
    let foreign = fixture.accept_of(other, 400, 2).await;
    let cancel = WebhookEventCommand::Cancel { reason: "a test".to_owned(), at: clock::now() };
    fixture.command(other, foreign, cancel).await;

    let mut term = fixture.lead().await;
    let steps = fixture.pass(&mut term).await;
    assert_eq!(steps, [Removed { payloads: 3, more: true, ..Removed::default() }]);
    assert_eq!(fixture.payloads().await, [waiting, young, foreign]);
    assert_eq!(fixture.exceptions().await, [waiting]);
    assert_eq!(fixture.events_shown().await, [delivered, failed, cancelled, waiting, young, foreign]);
    assert_eq!(fixture.attempted().await, [delivered, failed]);

    // The payload of the waiting event is erased once that has ended, and not before.
    assert_eq!(fixture.pass(&mut term).await, []);
    fixture.attempt(waiting, Outcome::Succeeded).await;
    assert_eq!(fixture.pass(&mut term).await.len(), 1);
    assert_eq!(fixture.payloads().await, [young, foreign]);
    assert_eq!(fixture.exceptions().await, []);

    // After a change to a longer time, what is left stays.
    let retention = days(400, None);
    let change = TenantCommand::ChangeRetention { retention, at: clock::now() };
    fixture
        .store
        .execute::<Tenant>(ACME.0, change, &Metadata::of_role(ACME, "test"))
        .await
        .expect("a change");
    assert_eq!(fixture.pass(&mut term).await, []);
    drop(term);
    fixture.discard().await;
}

#[tokio::test]
async fn what_was_erased_does_not_count_as_stored() {
    let fixture = tenant_with(days(7, None)).await;
    let old = fixture.accept_of(ACME, 30, 600).await;
    fixture.cancel(old).await;
    fixture.accept_of(ACME, 1, 400).await;
    let mut term = fixture.lead().await;
    fixture.catch_up(&mut term).await;
    assert!(fixture.has_stored(1_000).await && !fixture.has_stored(1_001).await);
    assert_eq!(fixture.pass(&mut term).await.len(), 1);
    assert!(fixture.has_stored(400).await && !fixture.has_stored(401).await);
    drop(term);
    fixture.discard().await;
}

#[tokio::test]
async fn a_step_erases_a_bounded_number_of_bytes() {
    let fixture = tenant_with(days(7, None)).await;
    for bytes in [3 << 20, 3 << 20, 3 << 20, 9 << 20, 1] {
        let id = fixture.accept_of(ACME, 10, bytes).await;
        fixture.cancel(id).await;
    }
    // These wait and end later.
    let late = [fixture.accept_of(ACME, 10, 5 << 20).await, fixture.accept_of(ACME, 10, 5 << 20).await];
    let mut term = fixture.lead().await;
    let steps = fixture.pass(&mut term).await;
    assert_eq!(steps.iter().map(|step| step.payloads).collect::<Vec<_>>(), [2, 1, 1, 1]);
    for id in late {
        fixture.cancel(id).await;
    }
    let steps = fixture.pass(&mut term).await;
    assert_eq!(steps.iter().map(|step| step.payloads).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(fixture.payloads().await, []);
    drop(term);
    fixture.discard().await;
}
