//! What becomes due because time passes: jobs that the queue lost, attempts whose worker vanished, and
//! deadlines of lanes.

use std::time::Duration;

use aggregates::attempt_outcome::Outcome;
use chrono::TimeDelta;

use super::model::{REPUBLISH_AFTER, TIMEOUT, VANISHED_AFTER, World};
use crate::config::GIVE_UP_GRACE;

const GRACE: TimeDelta = TimeDelta::seconds(GIVE_UP_GRACE.as_secs().cast_signed());

#[test]
fn a_job_that_does_not_start_is_published_again_ever_more_rarely() {
    let (mut world, id) = World::with_destination(1);
    let event = world.accept(id);
    world.fold_all();
    assert_eq!(world.step().len(), 1);
    for waits in [1, 2, 4, 8, 16, 16] {
        world.queue.clear();
        world.pass(REPUBLISH_AFTER * waits - TimeDelta::milliseconds(1));
        assert_eq!(world.step(), []);
        world.pass(TimeDelta::milliseconds(1));
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
    let now = world.present().boot;
    assert_eq!(world.core.schedule.unstarted(Duration::ZERO, now).len(), 3);
}

#[test]
fn what_the_queue_lost_is_published_again_at_once() {
    let (mut world, id) = World::with_destination(3);
    let accepted = world.accept_many(id, 3);
    world.fold_all();
    world.step();
    assert_eq!(world.start(0), Some(accepted[0]));
    world.fold_all();
    world.queue.clear();
    world.note_loss();
    assert_eq!(world.next_deadline(), Some(Duration::ZERO));
    let again = world.step();
    assert_eq!(
        again.iter().map(|job| job.event_id).collect::<Vec<_>>(),
        accepted[1..],
        "not what has started"
    );
    assert_eq!(world.step(), [], "once");
    // The usual wait begins again.
    world.pass(REPUBLISH_AFTER - TimeDelta::milliseconds(1));
    assert_eq!(world.step(), []);
    world.pass(TimeDelta::milliseconds(1));
    assert_eq!(world.step().len(), 2);
}

/// Also jobs whose next publication is far away, because they were published several times.
#[test]
fn what_the_queue_lost_is_published_again_however_often_it_was_before() {
    let (mut world, id) = World::with_destination(1);
    world.accept(id);
    world.fold_all();
    world.step();
    for waits in [1, 2, 4] {
        world.pass(REPUBLISH_AFTER * waits);
        assert_eq!(world.step().len(), 1);
    }
    world.pass(TimeDelta::seconds(5));
    world.note_loss();
    assert_eq!(world.step().len(), 1);
}

#[test]
fn an_unstable_connection_does_not_multiply_jobs() {
    let (mut world, id) = World::with_destination(1);
    world.accept(id);
    world.fold_all();
    world.step();
    let mut copies = 0;
    for _ in 0..100 {
        world.note_loss();
        copies += world.step().len();
        world.pass(TimeDelta::milliseconds(100));
    }
    assert_eq!(copies, 10, "one a second");
    world.note_loss();
    world.step();
    world.note_loss();
    assert_eq!(world.next_deadline(), Some(Duration::from_secs(1)));
}

#[test]
fn an_attempt_whose_worker_vanished_is_given_up_and_retried() {
    let (mut world, id) = World::with_destination(1);
    let event = world.accept(id);
    world.fold_all();
    world.step();
    world.start_all();
    world.fold_all();
    world.pass_reading(VANISHED_AFTER - TimeDelta::milliseconds(1));
    world.step();
    assert_eq!(world.attempts_in_flight(), [event]);
    world.pass_reading(TimeDelta::milliseconds(1));
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
    world.pass_reading(VANISHED_AFTER);
    // Found, and the append of its outcome failed.
    assert_eq!(world.vanished().len(), 1);
    assert_eq!(world.vanished().len(), 0, "not at once");
    assert_eq!(world.step(), [], "it may still be in flight");
    world.pass_reading(TimeDelta::seconds(5));
    assert_eq!(world.vanished().len(), 1);
}

/// The attempt must not be queued behind younger ones.
#[test]
fn an_attempt_that_could_not_be_given_up_comes_before_younger_ones() {
    let (mut world, id) = World::with_destination(2);
    let older = world.accept(id);
    world.fold_all();
    world.step();
    world.start_all();
    world.fold_all();
    world.pass_reading(VANISHED_AFTER);
    world.accept(id);
    world.fold_all();
    assert_eq!(world.vanished().len(), 1);
    let now = world.present().boot;
    let jobs = world.core.schedule.release(now);
    world.core.publish(jobs);
    assert_eq!(world.start_all().len(), 1);
    world.fold_all();
    world.pass_reading(TimeDelta::seconds(5));
    assert_eq!(world.vanished(), [older]);
}

/// Whichever clocks the worker and the dispatcher have, and however they are set meanwhile.
#[test]
fn wall_clocks_do_not_decide_when_an_attempt_is_given_up() {
    for others_ahead in [-3_600, 0, 3_600] {
        let (mut world, id) = World::with_destination(1);
        world.others_ahead = TimeDelta::seconds(others_ahead);
        let event = world.accept(id);
        world.fold_all();
        world.step();
        world.start_all();
        world.fold_all();
        world.set_clock(TimeDelta::hours(2));
        world.pass_reading(VANISHED_AFTER - TimeDelta::milliseconds(1));
        world.step();
        assert_eq!(world.attempts_in_flight(), [event]);
        world.set_clock(TimeDelta::hours(-5));
        world.pass_reading(TimeDelta::milliseconds(1));
        world.step();
        assert_eq!(world.attempts_in_flight(), []);
    }
}

/// The claim waited in the database, so its fact was written long after the time that it carries.
#[test]
fn the_time_limit_begins_when_the_dispatcher_reads_of_the_attempt() {
    let (mut world, id) = World::with_destination(1);
    let event = world.accept(id);
    world.fold_all();
    world.step();
    world.others_ahead = -VANISHED_AFTER;
    world.start_all();
    world.fold_all();
    world.pass_reading(TIMEOUT);
    world.step();
    assert_eq!(world.attempts_in_flight(), [event]);
}

#[test]
fn after_a_time_without_reading_workers_get_time_to_record_outcomes() {
    let (mut world, id) = World::with_destination(1);
    let event = world.accept(id);
    world.fold_all();
    world.step();
    world.start_all();
    world.fold_all();
    // The database or this process is stopped.
    world.pass(VANISHED_AFTER);
    world.step();
    assert_eq!(world.attempts_in_flight(), [event], "it could not be read whether it ended");
    world.fold_all();
    world.step();
    assert_eq!(world.attempts_in_flight(), [event], "nor recorded");
    world.pass_reading(GRACE - TimeDelta::milliseconds(1));
    world.step();
    assert_eq!(world.attempts_in_flight(), [event]);
    world.pass_reading(TimeDelta::milliseconds(1));
    assert_eq!(world.next_deadline(), Some(Duration::ZERO));
    world.step();
    assert_eq!(world.attempts_in_flight(), []);
}

#[test]
fn a_first_attempt_does_not_wait_for_a_clock_that_is_ahead() {
    let (mut world, id) = World::with_destination(5);
    world.others_ahead = TimeDelta::hours(1);
    // More than the window holds, so most of them go through the table.
    world.accept_many(id, 300);
    world.fold_all();
    for _ in 0..60 {
        assert_eq!(world.step().len(), 5);
        for event in world.start_all() {
            world.finish(event, Outcome::Succeeded);
        }
        world.fold_all();
    }
    assert!(world.unfinished().is_empty());
}

#[test]
fn a_clock_that_is_set_back_does_not_postpone_publishing_again() {
    let (mut world, id) = World::with_destination(1);
    world.accept(id);
    world.fold_all();
    world.step();
    world.set_clock(TimeDelta::hours(-1));
    world.pass_reading(REPUBLISH_AFTER);
    assert_eq!(world.step().len(), 1);
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

#[test]
fn a_retry_is_due_after_its_delay_whatever_the_clock_of_its_worker() {
    let delay = TimeDelta::seconds(10);
    for others_ahead in [-600, 0, 600] {
        let (mut world, id) = World::with_destination(1);
        let event = world.accept(id);
        world.fold_all();
        world.step();
        world.others_ahead = TimeDelta::seconds(others_ahead);
        assert_eq!(world.start_all(), [event]);
        world.finish(event, Outcome::Timeout);
        world.fold_all();
        world.pass(delay - TimeDelta::milliseconds(1));
        assert_eq!(world.step(), [], "{others_ahead}");
        world.pass(TimeDelta::milliseconds(1));
        assert_eq!(world.step().len(), 1, "{others_ahead}");
    }
}
