//! What the dispatcher does while circuit breakers open, close and probe. Their rules alone are tested in
//! `aggregates/tests/domain/circuit_breaker.rs`.

use std::time::Duration;

use aggregates::attempt_outcome::Outcome;
use aggregates::circuit_breaker::CircuitBreaker;
use aggregates::destination::Stage;
use aggregates::ids::{DestinationId, TenantId};
use chrono::TimeDelta;
use uuid::Uuid;

use super::model::{THRESHOLD, TIMER_SECONDS, World};
use crate::dispatcher::lane::LaneState;
use crate::dispatcher::schedule::Schedule;

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
fn nothing_is_released_when_the_breaker_is_to_open_and_steps_of_others_are_being_taken() {
    let (mut world, id) = World::with_destination(5);
    world.steps_are_taken = true;
    attempts_end(&mut world, id, &[Outcome::RefusedStatus; THRESHOLD as usize]);
    assert_eq!(world.stage(id), Stage::Active);
    world.accept(id);
    world.fold_all();
    assert_eq!(world.step(), []);
    world.steps_are_taken = false;
    world.step();
    world.fold_all();
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
    let now = world.present();
    assert_eq!(world.core.schedule.breaker_steps(THRESHOLD, now).len(), 1);
    world.core.schedule.touch(id);
    assert_eq!(world.core.schedule.breaker_steps(THRESHOLD, now).len(), 0);
}

#[test]
fn a_step_that_fails_is_taken_again_after_growing_pauses_and_no_attempt_starts_meanwhile() {
    let (mut world, id) = World::with_destination(5);
    for event in start_attempts(&mut world, id, 5) {
        world.finish(event, Outcome::Timeout);
    }
    world.accept(id);
    world.fold_all();
    world.steps_fail = true;
    world.step();
    for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
        world.step();
        let again = world.core.schedule.next_failed_step().expect("a time");
        assert_eq!(again.since(world.present().boot), Duration::from_secs(pause));
        world.core.schedule.touch(id);
        assert_eq!(world.core.schedule.breaker_steps(THRESHOLD, world.present()).len(), 0);
        world.pass_reading(TimeDelta::seconds(pause.cast_signed()));
        assert_eq!(world.step(), []);
    }
    world.steps_fail = false;
    world.step();
    world.pass_reading(TimeDelta::seconds(60));
    world.step();
    assert_eq!(world.stage(id), Stage::Suspended);
}

/// The fact is appended at the version that was folded.
#[test]
fn a_step_does_not_follow_a_fact_that_was_not_read() {
    let (mut world, id) = World::with_destination(5);
    for event in start_attempts(&mut world, id, 5) {
        world.finish(event, Outcome::Timeout);
    }
    world.fold_all();
    world.switch(id, false);
    world.switch(id, true);
    world.step();
    assert_eq!(world.stage(id), Stage::Active, "a user closed the breaker after these failures");
    world.fold_all();
    world.pass_reading(TimeDelta::minutes(5));
    world.step();
    assert_eq!(world.stage(id), Stage::Active);
}

#[test]
fn tenants_take_turns_with_the_steps_of_their_destinations() {
    let mut schedule = Schedule::default();
    let mut breaker = CircuitBreaker::default();
    for _ in 0..THRESHOLD {
        breaker.record(Outcome::Timeout);
    }
    let tenants = [1, 2].map(|number| TenantId(Uuid::from_u128(number)));
    for (tenant_id, destinations) in tenants.into_iter().zip([1_000, 3]) {
        for _ in 0..destinations {
            let id = DestinationId(Uuid::from_u128(schedule.lanes.len() as u128));
            let breaker = breaker.clone();
            let state = LaneState { tenant_id, concurrency_limit: 1, breaker, version: 1, stage_version: 1 };
            schedule.add_lane(id, state);
        }
    }
    let steps = schedule.breaker_steps(THRESHOLD, World::new().present());
    assert_eq!(steps.len(), 64);
    assert_eq!(steps.iter().filter(|(_, lane, _)| lane.tenant_id == tenants[1]).count(), 3);
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
