//! Webhooks that the dispatcher's own process has accepted, and that it has not read in the log yet.

use aggregates::attempt_outcome::Outcome;
use aggregates::ids::WebhookEventId;
use chrono::TimeDelta;
use projections::{LogPosition, TransactionId};

use super::model::World;
use crate::event_store::AcceptedEvent;

fn released(world: &mut World) -> Vec<WebhookEventId> {
    world.step().iter().map(|job| job.event_id).collect()
}

#[test]
fn they_are_released_before_the_log_is_read_and_once() {
    let (mut world, id) = World::with_destination(10);
    let accepted = world.accept_many(id, 3);
    assert!(world.hand_over());
    assert_eq!(released(&mut world), accepted);
    world.fold_all();
    assert_eq!(released(&mut world), []);
    world.start_all();
    accepted.iter().for_each(|event| assert!(world.finish(*event, Outcome::Succeeded)));
    world.fold_all();
    assert_eq!(world.core.schedule.tracked.len(), 0);
    world.check_tables();
}

#[test]
fn what_the_log_has_brought_already_changes_nothing() {
    let (mut world, id) = World::with_destination(10);
    let event = world.accept(id);
    world.fold_all();
    world.step();
    world.start_all();
    world.finish(event, Outcome::Succeeded);
    world.fold_all();
    assert!(world.hand_over(), "there is nothing to read for it");
    assert_eq!(released(&mut world), []);
    assert_eq!(world.core.schedule.tracked.len(), 0);
}

#[test]
fn an_event_that_would_wait_is_left_to_the_log() {
    let (mut world, id) = World::with_destination(2);
    let accepted = world.accept_many(id, 3);
    assert!(!world.hand_over(), "there are two permits");
    assert_eq!(released(&mut world), accepted[..2]);
    world.fold_all();
    world.start_all();
    world.finish(accepted[0], Outcome::Succeeded);
    world.fold_all();
    assert_eq!(released(&mut world), accepted[2..]);
}

#[test]
fn a_destination_that_takes_one_request_at_a_time_gets_them_in_the_order_of_the_log() {
    let (mut world, id) = World::with_destination(1);
    world.accept(id);
    assert!(!world.hand_over());
    assert_eq!(released(&mut world), []);
}

#[test]
fn after_a_failure_the_log_is_read_first() {
    let (mut world, id) = World::with_destination(5);
    let event = world.accept(id);
    world.fold_all();
    world.step();
    world.start_all();
    world.finish(event, Outcome::Timeout);
    world.fold_all();
    world.accept(id);
    assert!(!world.hand_over(), "the breaker may be about to open");
}

#[test]
fn nothing_of_them_is_flushed_before_the_log_confirms_them() {
    let (mut world, id) = World::with_destination(10);
    let event = world.accept(id);
    world.hand_over();
    world.step();
    world.flush();
    assert!(world.tables.due.is_empty(), "the checkpoint is before its acceptance");
    world.start_all();
    world.finish(event, Outcome::Succeeded);
    world.change_leader();
    assert!(world.tables.due.is_empty() && world.core.schedule.tracked.is_empty(), "it has ended");
}

#[test]
fn an_event_that_the_log_does_not_have_is_forgotten() {
    let (mut world, id) = World::with_destination(2);
    let event = world.accept(id);
    world.hand_over();
    let lost = AcceptedEvent {
        // Between the event and the next fact.
        position: LogPosition { transaction_id: TransactionId(2), position: 9 },
        event_id: WebhookEventId(uuid::Uuid::from_u128(7)),
        tenant_id: super::model::TENANT,
        destination_id: id,
        at: world.now,
    };
    let at = world.present();
    assert!(world.core.fold_ahead_of_log(&[lost], at));
    assert_eq!(released(&mut world), [event, lost.event_id]);
    world.fold_all();
    assert_eq!(world.core.schedule.in_flight_by_lane()[&id], 2, "the log may have it yet");
    world.accept(id);
    world.fold_all();
    assert_eq!(world.core.schedule.in_flight_by_lane()[&id], 1, "it does not hold a permit any more");
    world.pass(TimeDelta::seconds(1));
    assert_eq!(released(&mut world).len(), 1);
}
