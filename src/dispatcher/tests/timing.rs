//! What becomes due because time passes: jobs that the queue lost, attempts whose worker vanished, and
//! deadlines of lanes.

use aggregates::attempt_outcome::Outcome;
use chrono::TimeDelta;

use super::model::{REPUBLISH_AFTER, VANISHED_AFTER, World};

#[test]
fn a_job_that_does_not_start_is_published_again_and_again() {
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
        assert_eq!(world.step(), [], "once per interval");
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
    assert_eq!(world.core.schedule.outstanding(), 0);
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
    assert_eq!(world.core.schedule.oldest_published(), None);
}

#[test]
fn searching_for_unstarted_jobs_ends_even_without_an_interval() {
    let (mut world, id) = World::with_destination(3);
    world.accept_many(id, 3);
    world.fold_all();
    world.step();
    assert_eq!(world.core.schedule.unstarted(world.now, world.now).len(), 3);
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
    assert_eq!(world.attempts_in_flight(), [event]);
    world.pass(TimeDelta::milliseconds(1));
    world.step();
    assert_eq!(world.attempts_in_flight(), []);
    world.fold_all();
    world.pass(TimeDelta::seconds(10));
    let jobs = world.step();
    assert_eq!((jobs[0].event_id, jobs[0].attempts, jobs[0].failed_attempts), (event, 1, 0));
}

#[test]
fn an_attempt_that_could_not_be_given_up_keeps_its_permit_and_is_given_up_again() {
    let (mut world, id) = World::with_destination(1);
    world.accept_many(id, 2);
    world.fold_all();
    world.step();
    world.start_all();
    world.fold_all();
    world.pass(VANISHED_AFTER);
    // Found, and the append of its outcome failed.
    assert_eq!(world.core.schedule.vanished(world.now - VANISHED_AFTER).len(), 1);
    assert_eq!(world.core.schedule.vanished(world.now - VANISHED_AFTER).len(), 0, "not at once");
    assert_eq!(world.step(), [], "it may still be in flight");
    world.pass(TimeDelta::seconds(5));
    assert_eq!(world.core.schedule.vanished(world.now - VANISHED_AFTER).len(), 1);
}

/// The attempt must not be queued behind younger ones.
#[test]
fn an_attempt_that_could_not_be_given_up_comes_before_younger_ones() {
    let (mut world, id) = World::with_destination(2);
    let older = world.accept(id);
    world.fold_all();
    world.step();
    world.start_all();
    world.pass(VANISHED_AFTER);
    world.accept(id);
    world.fold_all();
    assert_eq!(world.core.schedule.vanished(world.now - VANISHED_AFTER).len(), 1);
    let jobs = world.core.schedule.release(world.now);
    world.core.publish(jobs);
    assert_eq!(world.start_all().len(), 1);
    world.fold_all();
    world.pass(TimeDelta::seconds(5));
    let again = world.core.schedule.vanished(world.now - VANISHED_AFTER);
    assert_eq!(again.iter().map(|attempt| attempt.event_id).collect::<Vec<_>>(), [older]);
}

#[test]
fn the_next_deadline_is_when_the_first_retry_becomes_due() {
    let (mut world, id) = World::with_destination(2);
    world.accept_many(id, 2);
    world.fold_all();
    world.step();
    let started = world.start_all();
    world.finish(started[0], Outcome::Timeout);
    world.pass(TimeDelta::seconds(3));
    world.finish(started[1], Outcome::Timeout);
    world.fold_all();
    assert_eq!(world.core.schedule.next_deadline(), Some(world.now + TimeDelta::seconds(7)));
    world.pass(TimeDelta::seconds(7));
    assert_eq!(world.step().len(), 1);
    assert_eq!(world.core.schedule.next_deadline(), Some(world.now + TimeDelta::seconds(3)));
    world.pass(TimeDelta::seconds(3));
    assert_eq!(world.step().len(), 1);
    assert_eq!(world.core.schedule.next_deadline(), None);
}

#[test]
fn a_lane_without_waiting_events_has_no_deadline() {
    let (mut world, id) = World::with_destination(2);
    let event = world.accept(id);
    world.fold_all();
    world.step();
    world.start_all();
    world.finish(event, Outcome::Succeeded);
    world.fold_all();
    world.step();
    assert_eq!(world.core.schedule.next_deadline(), None);
}
