//! A new leader continues from the tables and the log that the old one left.

use aggregates::attempt_outcome::Outcome;
use aggregates::destination::Stage;
use chrono::TimeDelta;

use super::model::{THRESHOLD, TIMER_SECONDS, VANISHED_AFTER, World};

#[test]
fn jobs_that_have_not_started_are_released_again_and_the_old_jobs_are_void() {
    let (mut world, id) = World::with_destination(3);
    let accepted = world.accept_many(id, 5);
    world.fold_all();
    world.step();
    let old_jobs = std::mem::take(&mut world.queue);
    world.change_leader();
    let jobs = world.step();
    assert_eq!(jobs.iter().map(|job| job.event_id).collect::<Vec<_>>(), accepted[..3]);
    for job in &old_jobs {
        assert_eq!(world.start_copy(job), None);
    }
    assert_eq!(world.start_all(), accepted[..3]);
}

#[test]
fn attempts_in_flight_hold_their_permits_whether_flushed_or_not() {
    for flushed in [true, false] {
        let (mut world, id) = World::with_destination(3);
        world.accept_many(id, 5);
        world.fold_all();
        world.step();
        world.start(0);
        world.start(0);
        world.fold_all();
        if flushed {
            world.flush();
        }
        world.change_leader();
        assert_eq!(world.step().len(), 1, "two of three are in flight");
        world.start_all();
        assert_eq!(world.in_flight(id), 3);
        world.check_tables();
    }
}

#[test]
fn an_attempt_that_the_old_leader_did_not_read_is_read_before_the_new_one_releases() {
    let (mut world, id) = World::with_destination(1);
    world.accept_many(id, 2);
    world.fold_all();
    world.step();
    world.flush();
    // The old leader dies before it reads this.
    world.start_all();
    world.change_leader();
    assert_eq!(world.step(), []);
}

/// Its clock cannot be compared with that of the old leader, so the time limit begins again.
#[test]
fn an_attempt_that_vanished_under_the_old_leader_is_given_up_by_the_new() {
    for flushed in [true, false] {
        let (mut world, id) = World::with_destination(1);
        let event = world.accept(id);
        world.fold_all();
        world.step();
        world.start_all();
        world.fold_all();
        if flushed {
            world.flush();
        }
        world.pass_reading(TimeDelta::seconds(30));
        world.change_leader();
        world.pass_reading(VANISHED_AFTER - TimeDelta::milliseconds(1));
        world.step();
        assert_eq!(world.attempts_in_flight(), [event]);
        world.pass_reading(TimeDelta::milliseconds(1));
        world.step();
        assert_eq!(world.attempts_in_flight(), []);
    }
}

#[test]
fn consecutive_failures_are_counted_across_leaders() {
    let (mut world, id) = World::with_destination(5);
    for number in 0..THRESHOLD {
        assert_eq!(world.stage(id), Stage::Active, "after {number}");
        world.accept(id);
        world.fold_all();
        world.step();
        let started = world.start_all();
        world.finish(started[0], Outcome::Timeout);
        world.fold_all();
        if number == 2 {
            world.flush();
        }
        world.change_leader();
        world.step();
    }
    assert_eq!(world.stage(id), Stage::Suspended);
}

#[test]
fn a_suspended_destination_is_probed_by_the_new_leader() {
    let (mut world, id) = World::with_destination(5);
    world.max_attempts = 1;
    world.accept_many(id, 5);
    world.fold_all();
    world.step();
    for event in world.start_all() {
        world.finish(event, Outcome::Timeout);
    }
    world.fold_all();
    world.step();
    world.fold_all();
    world.flush();
    assert_eq!(world.stage(id), Stage::Suspended);
    world.change_leader();
    let wake = world.core.schedule.next_deadline().expect("a time to wake");
    assert_eq!(wake, world.now + TimeDelta::seconds(i64::from(TIMER_SECONDS)));
    world.now = wake;
    world.step();
    assert_eq!(world.stage(id), Stage::Probing);
}

#[test]
fn a_retry_in_the_tables_is_released_by_the_new_leader_when_it_is_due() {
    let (mut world, id) = World::with_destination(5);
    let event = world.accept(id);
    world.fold_all();
    world.step();
    world.start_all();
    world.finish(event, Outcome::Timeout);
    world.fold_all();
    world.flush();
    world.change_leader();
    assert_eq!(world.step(), []);
    let wake = world.core.schedule.next_deadline().expect("a time to wake");
    assert_eq!(wake, world.now + TimeDelta::seconds(10));
    world.now = wake;
    assert_eq!(world.step().len(), 1);
}
