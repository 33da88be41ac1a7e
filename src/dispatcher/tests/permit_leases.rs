//! First attempts that start with the acceptance of their webhooks, with leases of permits.

use aggregates::attempt_outcome::Outcome;
use aggregates::ids::WebhookEventId;
use chrono::TimeDelta;

use super::model::World;

fn released(world: &mut World) -> Vec<WebhookEventId> {
    world.step().iter().map(|job| job.event_id).collect()
}

#[test]
fn an_attempt_that_starts_with_its_webhook_needs_no_job() {
    let (mut world, id) = World::with_destination(10);
    let event = world.accept_here(id).expect("a lease");
    world.fold_all();
    assert_eq!(released(&mut world), []);
    world.finish(event, Outcome::Succeeded);
    world.fold_all();
    assert_eq!((world.core.schedule.tracked.len(), world.core.schedule.leased(id)), (0, 0));
    world.check_tables();
}

#[test]
fn it_counts_before_and_after_the_dispatcher_knows_of_it() {
    let (mut world, id) = World::with_destination(2);
    let first = world.accept_here(id).expect("a lease");
    let second = world.accept(id);
    assert!(world.hand_over());
    assert_eq!(released(&mut world), [second]);
    world.accept(id);
    assert!(!world.hand_over(), "there are two permits");
    assert_eq!(released(&mut world), []);
    world.fold_all();
    assert_eq!(released(&mut world), []);
    world.finish(first, Outcome::Succeeded);
    world.fold_all();
    assert_eq!(released(&mut world).len(), 1);
}

#[test]
fn a_lease_that_is_not_used_yet_counts() {
    let (mut world, id) = World::with_destination(2);
    let prepared = [world.prepare(id), world.prepare(id)];
    world.accept(id);
    world.fold_all();
    assert_eq!(released(&mut world), []);
    drop(prepared);
    assert_eq!(released(&mut world).len(), 1, "they were returned");
}

#[test]
fn nothing_is_on_offer_while_something_waits() {
    let (mut world, id) = World::with_destination(2);
    world.accept_many(id, 3);
    world.fold_all();
    world.step();
    assert_eq!(world.accept_here(id), None);
    let first = world.start_all()[0];
    world.finish(first, Outcome::Succeeded);
    world.fold_all();
    assert_eq!(world.accept_here(id), None, "the third is first");
}

#[test]
fn nothing_is_on_offer_of_a_destination_that_takes_one_request_at_a_time() {
    let (mut world, id) = World::with_destination(1);
    assert_eq!(world.accept_here(id), None);
}

#[test]
fn nothing_is_on_offer_after_a_failure_until_an_attempt_succeeds() {
    let (mut world, id) = World::with_destination(5);
    let [first, second] = [world.accept_here(id), world.accept_here(id)].map(|event| event.expect("a lease"));
    world.finish(first, Outcome::Timeout);
    world.fold_all();
    assert_eq!(world.accept_here(id), None, "the breaker may be about to open");
    world.finish(second, Outcome::Succeeded);
    world.fold_all();
    world.step();
    world.start_all();
    for event in world.attempts_in_flight() {
        world.finish(event, Outcome::Succeeded);
    }
    world.fold_all();
    // The retry of the first is not due yet.
    assert!(world.accept_here(id).is_some());
}

#[test]
fn a_retry_that_is_due_comes_first() {
    let (mut world, id) = World::with_destination(2);
    let first = world.accept_here(id).expect("a lease");
    world.fold_all();
    world.finish(first, Outcome::Timeout);
    world.fold_all();
    let second = world.accept(id);
    world.fold_all();
    world.step();
    world.start_all();
    world.finish(second, Outcome::Succeeded);
    world.fold_all();
    let held = [world.prepare(id), world.prepare(id)];
    world.pass_reading(TimeDelta::seconds(60));
    assert_eq!(released(&mut world), []);
    drop(held);
    assert_eq!(released(&mut world), [first]);
}

#[test]
fn a_lease_of_another_term_or_limit_starts_nothing() {
    let (mut world, id) = World::with_destination(5);
    let prepared = world.prepare(id);
    world.change_limit(id, 3);
    assert!(!world.accept_prepared(prepared, true));
    world.fold_all();
    let prepared = world.prepare(id);
    world.change_leader();
    assert!(!world.accept_prepared(prepared, true));
    assert!(world.accept_here(id).is_none(), "two wait");
}

#[test]
fn a_new_leader_counts_attempts_that_had_leases() {
    let (mut world, id) = World::with_destination(2);
    let [first, _] = [world.accept_here(id), world.accept_here(id)].map(|event| event.expect("a lease"));
    world.change_leader();
    world.accept(id);
    world.fold_all();
    assert_eq!(released(&mut world), []);
    world.finish(first, Outcome::Succeeded);
    world.fold_all();
    assert_eq!(released(&mut world).len(), 1);
}
