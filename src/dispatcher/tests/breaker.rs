//! What the dispatcher does while circuit breakers open, close and probe. Their rules alone are tested in
//! `aggregates/tests/domain/circuit_breaker.rs`.

use aggregates::attempt_outcome::Outcome;
use aggregates::destination::Stage;
use aggregates::ids::DestinationId;
use chrono::TimeDelta;

use super::model::{THRESHOLD, TIMER_SECONDS, World};

const LIMIT: usize = 5;

/// Makes an attempt for each outcome, one after the other, each of a new event.
fn attempts_end(world: &mut World, id: DestinationId, outcomes: &[Outcome]) {
    for outcome in outcomes {
        world.accept(id);
        world.fold_all();
        world.step();
        let started = world.start_all();
        assert_eq!(started.len(), 1, "one event at a time");
        world.fold_all();
        assert!(world.finish(started[0], *outcome));
        world.fold_all();
    }
    world.step();
    world.fold_all();
}

fn timer() -> TimeDelta {
    TimeDelta::seconds(i64::from(TIMER_SECONDS))
}

/// A destination that has just been suspended, with as many events waiting as failed.
fn suspended() -> (World, DestinationId) {
    let (mut world, id) = World::with_destination(5);
    attempts_end(&mut world, id, &[Outcome::Timeout; THRESHOLD as usize]);
    assert_eq!(world.stage(id), Stage::Suspended);
    (world, id)
}

/// A suspended destination whose time of suspension is over.
fn probing() -> (World, DestinationId) {
    let (mut world, id) = suspended();
    world.pass(timer());
    world.step();
    world.fold_all();
    assert_eq!(world.stage(id), Stage::Probing);
    (world, id)
}

#[test]
fn the_fifth_consecutive_failure_suspends_the_destination_and_the_fourth_does_not() {
    let (mut world, id) = World::with_destination(5);
    attempts_end(&mut world, id, &[Outcome::RefusedStatus; 4]);
    assert_eq!(world.stage(id), Stage::Active);
    attempts_end(&mut world, id, &[Outcome::RefusedStatus]);
    assert_eq!(world.stage(id), Stage::Suspended);
}

#[test]
fn nothing_is_released_while_the_destination_is_suspended() {
    let (mut world, id) = suspended();
    world.accept(id);
    world.fold_all();
    world.pass(timer() - TimeDelta::milliseconds(1));
    assert_eq!(world.step(), []);
    assert_eq!(world.stage(id), Stage::Suspended);
}

#[test]
fn a_suspended_destination_is_probed_when_its_time_is_over() {
    let (mut world, id) = suspended();
    world.pass(timer());
    world.step();
    assert_eq!(world.stage(id), Stage::Probing);
}

/// Otherwise a destination without waiting events could never recover.
#[test]
fn a_suspended_destination_without_waiting_events_is_probed_too() {
    let (mut world, id) = World::with_destination(5);
    world.max_attempts = 1;
    attempts_end(&mut world, id, &[Outcome::Timeout; THRESHOLD as usize]);
    assert!(world.unfinished().is_empty());
    world.pass(timer());
    world.step();
    assert_eq!(world.stage(id), Stage::Probing);
}

/// The retries of the failures that suspended it become due long before the suspension ends.
#[test]
fn a_retry_that_becomes_due_during_the_suspension_does_not_delay_the_probe() {
    let (mut world, id) = suspended();
    for _ in 0..TIMER_SECONDS {
        assert_eq!(world.stage(id), Stage::Suspended);
        world.pass(TimeDelta::seconds(1));
        world.step();
        world.fold_all();
    }
    assert_eq!(world.stage(id), Stage::Probing);
}

#[test]
fn one_attempt_at_a_time_probes_the_destination() {
    let (mut world, id) = probing();
    world.accept_many(id, 20);
    world.fold_all();
    for _ in 0..3 {
        assert_eq!(world.step().len(), 1);
        let started = world.start_all();
        world.fold_all();
        assert_eq!(world.step(), [], "a second probe during the first");
        // An unknown outcome decides nothing, so the destination is probed again.
        world.finish(started[0], Outcome::Unknown);
        world.fold_all();
    }
}

#[test]
fn a_failed_probe_suspends_the_destination_for_the_full_time_again() {
    let (mut world, id) = probing();
    world.step();
    let started = world.start_all();
    world.pass(TimeDelta::seconds(7));
    world.finish(started[0], Outcome::Timeout);
    world.fold_all();
    assert_eq!(world.step(), [], "an attempt after the probe failed");
    world.fold_all();
    assert_eq!(world.stage(id), Stage::Suspended);
    world.pass(timer() - TimeDelta::milliseconds(1));
    assert_eq!(world.step(), []);
    world.pass(TimeDelta::milliseconds(1));
    world.step();
    assert_eq!(world.stage(id), Stage::Probing);
}

#[test]
fn a_probe_is_an_ordinary_attempt_of_its_event() {
    let (mut world, _) = suspended();
    world.max_attempts = 2;
    world.pass(timer());
    world.step();
    world.fold_all();
    world.step();
    let started = world.start_all();
    let before = world.unfinished().len();
    world.finish(started[0], Outcome::Timeout);
    assert_eq!(world.unfinished().len(), before - 1, "it was the event's last attempt");
}

#[test]
fn a_successful_probe_closes_the_breaker_and_waiting_events_are_released() {
    let (mut world, id) = probing();
    world.accept_many(id, 20);
    world.fold_all();
    world.step();
    let started = world.start_all();
    world.finish(started[0], Outcome::Succeeded);
    world.fold_all();
    world.step();
    world.fold_all();
    assert_eq!(world.stage(id), Stage::Active);
    assert_eq!(world.step().len(), LIMIT, "the limit is used in full again");
}

#[test]
fn a_deactivated_destination_is_not_probed() {
    let (mut world, id) = suspended();
    world.switch(id, false);
    world.fold_all();
    world.pass(timer() * 2);
    assert_eq!(world.step(), []);
    assert_eq!(world.stage(id), Stage::Inactive);
}

#[test]
fn activating_a_suspended_destination_closes_the_breaker_and_resets_the_count() {
    let (mut world, id) = suspended();
    world.switch(id, true);
    world.fold_all();
    new_events_fail(&mut world, id, 4);
    assert_eq!(world.stage(id), Stage::Active);
    new_events_fail(&mut world, id, 1);
    assert_eq!(world.stage(id), Stage::Suspended);
}

/// Fails attempts of new events, while the retries of older ones are not due.
fn new_events_fail(world: &mut World, id: DestinationId, count: usize) {
    attempts_end(world, id, &vec![Outcome::Timeout; count]);
}

#[test]
fn an_event_replayed_to_a_suspended_destination_waits_for_the_breaker() {
    let (mut world, id) = World::with_destination(5);
    world.max_attempts = 1;
    attempts_end(&mut world, id, &[Outcome::Timeout; THRESHOLD as usize]);
    let given_up = world.given_up();
    assert!(world.replay(given_up[0]));
    world.fold_all();
    assert_eq!(world.step(), []);
    world.pass(timer());
    world.step();
    world.fold_all();
    let jobs = world.step();
    assert_eq!(jobs.iter().map(|job| job.event_id).collect::<Vec<_>>(), [given_up[0]]);
    assert_eq!((jobs[0].attempts, jobs[0].failed_attempts), (1, 0));
}

#[test]
fn a_step_is_returned_once_until_its_fact_is_read() {
    let (mut world, id) = World::with_destination(5);
    for event in start_attempts(&mut world, id, 5) {
        world.finish(event, Outcome::Timeout);
    }
    world.fold_all();
    assert_eq!(world.core.schedule.breaker_steps(THRESHOLD, world.now).len(), 1);
    world.core.schedule.touch(id);
    assert_eq!(world.core.schedule.breaker_steps(THRESHOLD, world.now).len(), 0);
    // The step failed, so it is returned again.
    world.core.schedule.retry_breaker_step(id);
    assert_eq!(world.core.schedule.breaker_steps(THRESHOLD, world.now).len(), 1);
}

fn start_attempts(
    world: &mut World,
    id: DestinationId,
    count: usize,
) -> Vec<aggregates::ids::WebhookEventId> {
    world.accept_many(id, count);
    world.fold_all();
    world.step();
    let started = world.start_all();
    assert_eq!(started.len(), count);
    started
}
