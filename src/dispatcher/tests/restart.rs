//! A new leader knows what the old one knew, however suddenly that died.

use aggregates::attempt_outcome::Outcome;
use aggregates::destination::Stage;
use chrono::TimeDelta;

use super::world::{THRESHOLD, TIMER_SECONDS, VANISHED_AFTER, World};

#[test]
fn what_was_released_and_not_started_is_released_again_and_the_old_jobs_are_void() {
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
fn attempts_under_way_take_their_room_whether_they_were_flushed_or_not() {
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
        assert_eq!(world.step().len(), 1, "two of three are under way");
        world.start_all();
        assert_eq!(world.in_flight(id), 3);
        world.check_tables();
    }
}

#[test]
fn an_attempt_that_started_unseen_is_seen_by_the_new_leader_before_it_releases() {
    let (mut world, id) = World::with_destination(1);
    world.accept_many(id, 2);
    world.fold_all();
    world.step();
    world.flush();
    // The old leader dies before it sees this.
    world.start_all();
    world.change_leader();
    assert_eq!(world.step(), []);
}

#[test]
fn an_attempt_that_vanished_under_the_old_leader_is_given_up_by_the_new() {
    let (mut world, id) = World::with_destination(2);
    world.accept_many(id, 2);
    world.fold_all();
    world.step();
    world.start(1);
    world.pass(TimeDelta::seconds(30));
    world.start(0);
    world.fold_all();
    world.flush();
    world.change_leader();
    world.pass(VANISHED_AFTER - TimeDelta::seconds(30));
    world.step();
    assert_eq!(world.under_way().len(), 1, "the older one is given up, whatever its place in the table");
}

#[test]
fn failures_in_a_row_are_counted_on() {
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
    let wake = world.schedule.next_wake().expect("a time to wake");
    assert_eq!(wake, world.now + TimeDelta::seconds(i64::from(TIMER_SECONDS)));
    world.now = wake;
    world.step();
    assert_eq!(world.stage(id), Stage::Probing);
}

#[test]
fn a_retry_that_waits_in_the_tables_is_released_by_the_new_leader_at_its_time() {
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
    let wake = world.schedule.next_wake().expect("a time to wake");
    assert_eq!(wake, world.now + TimeDelta::seconds(10));
    world.now = wake;
    assert_eq!(world.step().len(), 1);
}
