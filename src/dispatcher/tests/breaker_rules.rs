//! The circuit breaker's rules, in the order of the specification.

use aggregates::attempt_outcome::Outcome;
use aggregates::destination::Stage;
use aggregates::ids::DestinationId;
use chrono::TimeDelta;

use super::world::{THRESHOLD, TIMER_SECONDS, World};

const LIMIT: usize = 5;

/// Has so many attempts end like this, one after the other, each of an event of its own.
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

/// The same destination, when its time is over.
fn probing() -> (World, DestinationId) {
    let (mut world, id) = suspended();
    world.pass(timer());
    world.step();
    world.fold_all();
    assert_eq!(world.stage(id), Stage::Probing);
    (world, id)
}

#[test]
fn the_fifth_failure_in_a_row_suspends_the_destination_and_the_fourth_does_not() {
    let (mut world, id) = World::with_destination(5);
    attempts_end(&mut world, id, &[Outcome::RefusedStatus; 4]);
    assert_eq!(world.stage(id), Stage::Active);
    attempts_end(&mut world, id, &[Outcome::RefusedStatus]);
    assert_eq!(world.stage(id), Stage::Suspended);
}

#[test]
fn any_success_starts_the_count_anew() {
    let (mut world, id) = World::with_destination(5);
    attempts_end(&mut world, id, &[Outcome::Timeout; 4]);
    attempts_end(&mut world, id, &[Outcome::Succeeded]);
    attempts_end(&mut world, id, &[Outcome::Timeout; 4]);
    assert_eq!(world.stage(id), Stage::Active);
}

#[test]
fn failures_before_anything_was_sent_count_too() {
    let (mut world, id) = World::with_destination(5);
    use Outcome::{BlockedAddress, Credentials, Dns, TokenEndpoint};
    attempts_end(&mut world, id, &[BlockedAddress, Credentials, Dns, TokenEndpoint, BlockedAddress]);
    assert_eq!(world.stage(id), Stage::Suspended);
}

#[test]
fn an_attempt_whose_worker_vanished_neither_counts_nor_starts_the_count_anew() {
    let (mut world, id) = World::with_destination(5);
    attempts_end(&mut world, id, &[Outcome::Timeout; 4]);
    attempts_end(&mut world, id, &[Outcome::Unknown; 3]);
    assert_eq!(world.stage(id), Stage::Active);
    attempts_end(&mut world, id, &[Outcome::Timeout]);
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

/// Else a destination without waiting events could never recover.
#[test]
fn a_suspended_destination_without_waiting_events_is_probed_too() {
    let (mut world, id) = World::with_destination(5);
    world.max_attempts = 1;
    attempts_end(&mut world, id, &[Outcome::Timeout; THRESHOLD as usize]);
    assert!(world.on_their_way().is_empty());
    world.pass(timer());
    world.step();
    assert_eq!(world.stage(id), Stage::Probing);
}

/// The retries of the failures that suspended it become due long before its time is over.
#[test]
fn a_retry_that_becomes_due_meanwhile_does_not_keep_a_destination_from_its_probe() {
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
        assert_eq!(world.step(), [], "a second probe beside the first");
        // What became of it is not known, so it was no probe.
        world.finish(started[0], Outcome::Unknown);
        world.fold_all();
    }
}

#[test]
fn a_failed_probe_suspends_the_destination_for_another_full_time() {
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
    let before = world.on_their_way().len();
    world.finish(started[0], Outcome::Timeout);
    assert_eq!(world.on_their_way().len(), before - 1, "it was the event's last attempt");
}

#[test]
fn a_successful_probe_closes_the_breaker_and_what_was_put_off_is_due() {
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
fn after_the_breaker_closed_it_takes_five_failures_again() {
    let (mut world, id) = World::with_destination(5);
    world.max_attempts = 1;
    attempts_end(&mut world, id, &[Outcome::Timeout; THRESHOLD as usize]);
    world.pass(timer());
    world.step();
    world.fold_all();
    attempts_end(&mut world, id, &[Outcome::Succeeded]);
    assert_eq!(world.stage(id), Stage::Active);
    attempts_end(&mut world, id, &[Outcome::Timeout; 4]);
    assert_eq!(world.stage(id), Stage::Active);
    attempts_end(&mut world, id, &[Outcome::Timeout]);
    assert_eq!(world.stage(id), Stage::Suspended);
}

#[test]
fn the_breaker_leaves_a_destination_alone_that_somebody_switched_off() {
    let (mut world, id) = suspended();
    world.switch(id, false);
    world.fold_all();
    world.pass(timer() * 2);
    assert_eq!(world.step(), []);
    assert_eq!(world.stage(id), Stage::Inactive);
}

#[test]
fn somebody_who_switches_it_on_closes_the_breaker_and_starts_the_count_anew() {
    let (mut world, id) = suspended();
    world.switch(id, true);
    world.fold_all();
    attempts_end_of_new_events(&mut world, id, 4);
    assert_eq!(world.stage(id), Stage::Active);
    attempts_end_of_new_events(&mut world, id, 1);
    assert_eq!(world.stage(id), Stage::Suspended);
}

/// While retries wait for their time.
fn attempts_end_of_new_events(world: &mut World, id: DestinationId, count: usize) {
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
fn a_late_success_closes_the_breaker_and_a_late_failure_changes_nothing() {
    let (mut world, id) = World::with_destination(7);
    world.accept_many(id, 7);
    world.fold_all();
    world.step();
    let started = world.start_all();
    for event in &started[..5] {
        world.finish(*event, Outcome::Timeout);
    }
    world.fold_all();
    world.step();
    world.fold_all();
    assert_eq!(world.stage(id), Stage::Suspended);

    world.pass(TimeDelta::seconds(20));
    world.finish(started[5], Outcome::Timeout);
    world.fold_all();
    world.step();
    world.fold_all();
    assert_eq!(world.stage(id), Stage::Suspended);

    world.finish(started[6], Outcome::Succeeded);
    world.fold_all();
    world.step();
    world.fold_all();
    assert_eq!(world.stage(id), Stage::Active);
}

#[test]
fn a_step_is_asked_for_once_until_its_fact_has_come_back() {
    let (mut world, id) = World::with_destination(5);
    for event in attempts_under_way(&mut world, id, 5) {
        world.finish(event, Outcome::Timeout);
    }
    world.fold_all();
    assert_eq!(world.schedule.breaker_steps(THRESHOLD, world.now).len(), 1);
    world.schedule.touch(id);
    assert_eq!(world.schedule.breaker_steps(THRESHOLD, world.now).len(), 0);
    // It failed, so it is asked again.
    world.schedule.ask_again(id);
    assert_eq!(world.schedule.breaker_steps(THRESHOLD, world.now).len(), 1);
}

fn attempts_under_way(
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
