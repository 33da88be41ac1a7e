//! What becomes due because time passes: jobs that the queue forgot, attempts whose worker vanished,
//! and lanes that must be looked at.

use aggregates::attempt_outcome::Outcome;
use chrono::TimeDelta;

use super::world::{REPUBLISH_AFTER, VANISHED_AFTER, World};

#[test]
fn a_job_that_nobody_started_is_published_again_and_again() {
    let (mut world, id) = World::with_destination(1);
    let event = world.accept(id);
    world.fold_all();
    assert_eq!(world.step().len(), 1);
    for _ in 0..3 {
        world.queue.clear();
        world.pass(REPUBLISH_AFTER);
        let again = world.step();
        assert_eq!(again.len(), 1);
        assert_eq!((again[0].event_id, again[0].stream_version), (event, 1));
        assert_eq!(world.step(), [], "once a while");
    }
    assert_eq!(world.start_all(), [event]);
}

#[test]
fn of_two_copies_of_a_job_one_starts() {
    let (mut world, id) = World::with_destination(1);
    let event = world.accept(id);
    world.fold_all();
    world.step();
    world.pass(REPUBLISH_AFTER);
    world.step();
    assert_eq!(world.queue.len(), 2);
    assert_eq!(world.start_all(), [event]);
    world.fold_all();
    assert_eq!(world.schedule.outstanding(), 0);
}

#[test]
fn a_job_that_started_is_not_published_again() {
    let (mut world, id) = World::with_destination(1);
    world.accept(id);
    world.fold_all();
    world.step();
    let started = world.start_all();
    world.fold_all();
    world.pass(REPUBLISH_AFTER);
    world.finish(started[0], Outcome::Succeeded);
    world.fold_all();
    assert_eq!(world.step(), []);
    assert_eq!(world.schedule.oldest().0, None);
}

#[test]
fn looking_for_forgotten_jobs_ends_even_if_they_are_forgotten_at_once() {
    let (mut world, id) = World::with_destination(3);
    world.accept_many(id, 3);
    world.fold_all();
    world.step();
    assert_eq!(world.schedule.forgotten(world.now, world.now).len(), 3);
}

#[test]
fn an_attempt_whose_worker_vanished_is_given_up_and_retried() {
    let (mut world, id) = World::with_destination(1);
    let event = world.accept(id);
    world.fold_all();
    world.step();
    world.start_all();
    world.fold_all();
    world.pass(VANISHED_AFTER - TimeDelta::milliseconds(1));
    world.step();
    assert_eq!(world.under_way(), [event]);
    world.pass(TimeDelta::milliseconds(1));
    world.step();
    assert_eq!(world.under_way(), []);
    world.fold_all();
    world.pass(TimeDelta::seconds(10));
    let jobs = world.step();
    assert_eq!((jobs[0].event_id, jobs[0].attempts, jobs[0].failed_attempts), (event, 1, 0));
}

#[test]
fn an_attempt_that_could_not_be_given_up_keeps_its_room_and_is_tried_again() {
    let (mut world, id) = World::with_destination(1);
    world.accept_many(id, 2);
    world.fold_all();
    world.step();
    world.start_all();
    world.fold_all();
    world.pass(VANISHED_AFTER);
    // Found, and the append of its outcome failed.
    assert_eq!(world.schedule.vanished(world.now - VANISHED_AFTER).len(), 1);
    assert_eq!(world.schedule.vanished(world.now - VANISHED_AFTER).len(), 0, "not at once");
    assert_eq!(world.step(), [], "it may still be under way");
    world.pass(TimeDelta::seconds(5));
    assert_eq!(world.schedule.vanished(world.now - VANISHED_AFTER).len(), 1);
}

/// The next look at an attempt that could not be given up must not wait behind younger attempts.
#[test]
fn an_attempt_that_could_not_be_given_up_is_tried_again_before_younger_ones() {
    let (mut world, id) = World::with_destination(2);
    let older = world.accept(id);
    world.fold_all();
    world.step();
    world.start_all();
    world.pass(VANISHED_AFTER);
    world.accept(id);
    world.fold_all();
    assert_eq!(world.schedule.vanished(world.now - VANISHED_AFTER).len(), 1);
    let jobs = world.schedule.release(world.now);
    world.publish(&jobs);
    assert_eq!(world.start_all().len(), 1);
    world.fold_all();
    world.pass(TimeDelta::seconds(5));
    let again = world.schedule.vanished(world.now - VANISHED_AFTER);
    assert_eq!(again.iter().map(|attempt| attempt.event_id).collect::<Vec<_>>(), [older]);
}

#[test]
fn the_next_wake_is_when_the_first_retry_becomes_due() {
    let (mut world, id) = World::with_destination(2);
    world.accept_many(id, 2);
    world.fold_all();
    world.step();
    let started = world.start_all();
    world.finish(started[0], Outcome::Timeout);
    world.pass(TimeDelta::seconds(3));
    world.finish(started[1], Outcome::Timeout);
    world.fold_all();
    assert_eq!(world.schedule.next_wake(), Some(world.now + TimeDelta::seconds(7)));
    world.pass(TimeDelta::seconds(7));
    assert_eq!(world.step().len(), 1);
    assert_eq!(world.schedule.next_wake(), Some(world.now + TimeDelta::seconds(3)));
    world.pass(TimeDelta::seconds(3));
    assert_eq!(world.step().len(), 1);
    assert_eq!(world.schedule.next_wake(), None);
}

#[test]
fn a_lane_that_nothing_waits_in_wakes_nobody() {
    let (mut world, id) = World::with_destination(2);
    let event = world.accept(id);
    world.fold_all();
    world.step();
    world.start_all();
    world.finish(event, Outcome::Succeeded);
    world.fold_all();
    world.step();
    assert_eq!(world.schedule.next_wake(), None);
}
