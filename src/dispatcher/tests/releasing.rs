//! What is released, in which order, and how much of it at once.

use aggregates::attempt_outcome::Outcome;
use aggregates::destination::Stage;
use aggregates::ids::{DestinationId, TenantId, WebhookEventId};
use chrono::TimeDelta;
use uuid::Uuid;

use super::model::{REPUBLISH_AFTER, World, destination_id};
use crate::dispatcher::due_deliveries::DueDelivery;

/// Jobs on the queue of a tenant that is alone, of the 512 of all tenants.
const ALONE: usize = 410;

fn events(jobs: &[DueDelivery]) -> Vec<WebhookEventId> {
    jobs.iter().map(|job| job.event_id).collect()
}

fn of(jobs: &[DueDelivery], id: DestinationId) -> usize {
    jobs.iter().filter(|job| job.destination_id == id).count()
}

/// Delivers everything that waits. Returns the order in which it was released.
fn deliver_all(world: &mut World) -> Vec<WebhookEventId> {
    let mut order = vec![];
    while !world.unfinished().is_empty() {
        let jobs = world.step();
        assert!(!jobs.is_empty(), "{} events are not released", world.unfinished().len());
        order.extend(events(&jobs));
        for event in world.start_all() {
            world.finish(event, Outcome::Succeeded);
        }
        world.fold_all();
    }
    order
}

#[test]
fn accepted_events_are_released_at_once_up_to_the_limit() {
    let (mut world, id) = World::with_destination(3);
    let accepted = world.accept_many(id, 5);
    world.fold_all();
    assert_eq!(events(&world.step()), accepted[..3]);
    assert_eq!(world.step(), []);
}

#[test]
fn a_job_carries_the_version_and_the_attempts_of_its_event() {
    let (mut world, id) = World::with_destination(1);
    let event = world.accept(id);
    world.fold_all();
    let jobs = world.step();
    assert_eq!((jobs[0].stream_version, jobs[0].attempts, jobs[0].failed_attempts), (1, 0, 0));
    world.start_all();
    world.finish(event, Outcome::Timeout);
    world.fold_all();
    world.pass(TimeDelta::seconds(10));
    let jobs = world.step();
    assert_eq!((jobs[0].stream_version, jobs[0].attempts, jobs[0].failed_attempts), (4, 1, 1));
}

#[test]
fn an_attempt_that_ends_frees_its_permit_for_the_next() {
    let (mut world, id) = World::with_destination(2);
    let accepted = world.accept_many(id, 4);
    world.fold_all();
    world.step();
    let started = world.start_all();
    world.fold_all();
    assert_eq!(world.step(), [], "a started attempt holds its permit until it ends");
    assert!(world.core.schedule.waits_for_attempts(), "so a notification of its end is awaited");
    world.finish(started[1], Outcome::Succeeded);
    world.fold_all();
    assert_eq!(events(&world.step()), accepted[2..3]);
    world.finish(started[0], Outcome::Succeeded);
    world.fold_all();
    world.step();
    assert!(!world.core.schedule.waits_for_attempts(), "nothing waits for a permit any more");
}

#[test]
fn a_job_on_the_queue_holds_its_permit() {
    let (mut world, id) = World::with_destination(1);
    world.accept_many(id, 2);
    world.fold_all();
    world.step();
    world.pass(REPUBLISH_AFTER - TimeDelta::seconds(1));
    assert_eq!(world.step(), []);
}

#[test]
fn a_retry_waits_until_it_is_due() {
    let (mut world, id) = World::with_destination(1);
    let event = world.accept(id);
    world.fold_all();
    world.step();
    world.start_all();
    world.finish(event, Outcome::Timeout);
    world.fold_all();
    world.pass(TimeDelta::milliseconds(9_999));
    assert_eq!(world.step(), []);
    world.pass(TimeDelta::milliseconds(1));
    assert_eq!(events(&world.step()), [event]);
}

#[test]
fn an_event_that_is_delivered_before_a_flush_never_touches_the_tables() {
    let (mut world, id) = World::with_destination(5);
    world.flush();
    let accepted = world.accept_many(id, 3);
    world.fold_all();
    world.step();
    world.start_all();
    for event in accepted {
        world.finish(event, Outcome::Succeeded);
    }
    world.fold_all();
    let changes = world.core.schedule.take_changes();
    assert!(changes.written.is_empty() && changes.removed.is_empty(), "{changes:?}");
}

#[test]
fn a_backlog_stays_in_the_tables_except_for_a_window() {
    let (mut world, id) = World::with_destination(5);
    let accepted = world.accept_many(id, 3_000);
    world.fold_all();
    let held = world.core.schedule.tracked.len();
    assert!(held <= 64, "{held} events in memory");
    assert_eq!(deliver_all(&mut world), accepted, "oldest first, none twice");
}

#[test]
fn the_window_grows_with_the_limit_up_to_its_bound() {
    let (mut world, id) = World::with_destination(100_000);
    world.accept_many(id, 5_000);
    world.fold_all();
    assert_eq!(world.core.schedule.tracked.len(), 2_048);
}

#[test]
fn a_refill_does_not_overtake_what_waits_in_the_tables() {
    let (mut world, id) = World::with_destination(5);
    let first = world.accept_many(id, 200);
    world.fold_all();
    let mut order = events(&world.step());
    // While the window runs dry, more arrives.
    for _ in 0..12 {
        for event in world.start_all() {
            world.finish(event, Outcome::Succeeded);
        }
        world.pass(TimeDelta::milliseconds(1));
        world.accept(id);
        world.fold_all();
        order.extend(events(&world.step()));
    }
    assert_eq!(order[..], first[..order.len()]);
}

#[test]
fn lanes_take_turns_regardless_of_their_backlog() {
    let mut world = World::new();
    let big = world.register(0, 1_000);
    let small = world.register(1, 1_000);
    world.accept_many(big, 900);
    world.accept_many(small, 20);
    world.fold_all();
    let jobs = world.step();
    assert_eq!(of(&jobs[..16], big), 16);
    assert_eq!(of(&jobs[16..32], small), 16);
    assert_eq!(of(&jobs[32..48], big), 16);
    assert_eq!(of(&jobs[48..52], small), 4);
    assert_eq!(of(&jobs, big), ALONE - 20, "the rest waits where it can be overtaken");
}

#[test]
fn a_slow_destination_delays_no_other() {
    let mut world = World::new();
    let slow = world.register(0, 1);
    let quick = world.register(1, 5);
    world.accept_many(slow, 500);
    let accepted = world.accept_many(quick, 5);
    world.fold_all();
    let jobs = world.step();
    assert_eq!(of(&jobs, slow), 1);
    assert_eq!(of(&jobs, quick), accepted.len());
}

#[test]
fn jobs_on_the_queue_are_bounded_over_all_destinations() {
    let mut world = World::new();
    for number in 0..4 {
        let id = world.register(number, 300);
        world.accept_many(id, 300);
    }
    world.fold_all();
    assert_eq!(world.step().len(), ALONE);
    assert_eq!(world.core.schedule.outstanding(), ALONE);
    assert_eq!(world.step(), []);
    // What has started leaves the queue.
    for _ in 0..10 {
        world.start(0);
    }
    world.fold_all();
    assert_eq!(world.core.schedule.outstanding(), ALONE - 10);
    assert_eq!(world.step().len(), 10);
}

/// The first jobs of a tenant must not wait for those of another one to start.
#[test]
fn a_tenant_that_is_alone_leaves_room_for_the_first_jobs_of_another() {
    let mut world = World::new();
    let slow = world.register_for(TenantId(Uuid::from_u128(1)), 0, 10_000);
    let quick = world.register_for(TenantId(Uuid::from_u128(2)), 1, 100);
    world.accept_many(slow, 3_000);
    world.fold_all();
    assert_eq!(world.step().len(), ALONE);
    world.accept_many(quick, 60);
    world.fold_all();
    assert_eq!(of(&world.step(), quick), 60);
    assert_eq!(world.step(), []);
}

/// Its attempts use up the permits of the workers, and its jobs must not use up what they prefetch.
#[test]
fn a_tenant_whose_jobs_wait_at_the_workers_has_few_on_the_queue() {
    let mut world = World::new();
    let slow = world.register_for(TenantId(Uuid::from_u128(1)), 0, 10_000);
    let quick = world.register_for(TenantId(Uuid::from_u128(2)), 1, 100);
    world.accept_many(slow, 3_000);
    world.fold_all();
    assert_eq!(world.step().len(), ALONE, "while it is alone and its jobs start");
    world.pass_reading(TimeDelta::seconds(2));
    for _ in 0..ALONE - 12 {
        world.start(0);
        world.fold_all();
        world.step();
    }
    assert_eq!(world.queue.len(), 32, "jobs that start free space for as many");
    world.accept_many(quick, 100);
    world.fold_all();
    assert_eq!(of(&world.step(), quick), 100);
    world.start_all();
    world.fold_all();
    let jobs = world.step();
    assert!(of(&jobs, slow) >= 32, "its jobs start again");
    world.check_tables();
}

#[test]
fn a_higher_limit_is_used_at_once_and_a_lower_one_as_attempts_end() {
    let (mut world, id) = World::with_destination(2);
    world.accept_many(id, 20);
    world.fold_all();
    assert_eq!(world.step().len(), 2);
    world.change_limit(id, 6);
    world.fold_all();
    assert_eq!(world.step().len(), 6, "the two that have not started are released again");
    let started = world.start_all();
    world.fold_all();
    world.change_limit(id, 3);
    world.fold_all();
    for event in &started[..3] {
        world.finish(*event, Outcome::Succeeded);
        world.fold_all();
        assert_eq!(world.step(), []);
    }
    world.finish(started[3], Outcome::Succeeded);
    world.fold_all();
    assert_eq!(world.step().len(), 1);
}

#[test]
fn a_lower_limit_recalls_jobs_that_have_not_started() {
    let (mut world, id) = World::with_destination(6);
    let accepted = world.accept_many(id, 6);
    world.fold_all();
    assert_eq!(world.step().len(), 6);
    world.change_limit(id, 2);
    assert_eq!(world.start_all(), [], "jobs of the old limit are void");
    world.fold_all();
    assert_eq!(events(&world.step()), accepted[..2]);
    assert_eq!(world.start_all(), accepted[..2]);
}

/// Otherwise the row of each active destination would be rewritten every second.
#[test]
fn an_outcome_that_changes_nothing_rewrites_no_lane() {
    let (mut world, id) = World::with_destination(1);
    for (outcome, lanes) in [(Outcome::Succeeded, 1), (Outcome::Succeeded, 0), (Outcome::Timeout, 1)] {
        let event = world.accept(id);
        world.fold_all();
        world.step();
        world.start_all();
        world.finish(event, outcome);
        world.core.schedule.take_changes();
        world.fold_all();
        assert_eq!(world.core.schedule.take_changes().lanes.len(), lanes, "{outcome:?}");
    }
}

#[test]
fn a_deactivated_destination_keeps_its_events_until_it_is_activated() {
    let (mut world, id) = World::with_destination(5);
    world.switch(id, false);
    let accepted = world.accept_many(id, 100);
    world.fold_all();
    assert_eq!(world.step(), []);
    world.pass(TimeDelta::days(3));
    assert_eq!(world.step(), []);
    world.switch(id, true);
    world.fold_all();
    assert_eq!(deliver_all(&mut world), accepted);
}

#[test]
fn a_cancelled_event_is_skipped_in_the_window_and_in_the_tables() {
    let (mut world, id) = World::with_destination(1);
    let accepted = world.accept_many(id, 100);
    world.fold_all();
    let in_window = accepted[30];
    let in_table = accepted[90];
    assert!(world.cancel(in_window));
    assert!(world.cancel(in_table));
    world.fold_all();
    let delivered = deliver_all(&mut world);
    assert_eq!(delivered.len(), 98);
    assert!(!delivered.contains(&in_window) && !delivered.contains(&in_table));
    world.check_tables();
}

#[test]
fn cancelling_a_whole_queue_does_not_block_later_events() {
    let (mut world, id) = World::with_destination(1);
    world.switch(id, false);
    for event in world.accept_many(id, 200) {
        assert!(world.cancel(event));
    }
    world.switch(id, true);
    let later = world.accept(id);
    world.fold_all();
    assert_eq!(deliver_all(&mut world), [later]);
}

#[test]
fn cancelling_a_released_event_frees_its_permit_and_its_job_wins_no_claim() {
    let (mut world, id) = World::with_destination(1);
    let accepted = world.accept_many(id, 2);
    world.fold_all();
    world.step();
    assert!(world.cancel(accepted[0]));
    world.fold_all();
    assert_eq!(world.core.schedule.outstanding(), 0);
    assert_eq!(events(&world.step()), accepted[1..]);
    assert_eq!(world.start_all(), accepted[1..]);
}

#[test]
fn an_event_whose_payload_is_erased_is_forgotten() {
    let (mut world, id) = World::with_destination(1);
    let accepted = world.accept_many(id, 2);
    world.fold_all();
    world.step();
    assert!(world.erase(accepted[0]));
    world.fold_all();
    assert_eq!(events(&world.step()), accepted[1..]);
    world.check_tables();
}

#[test]
fn a_replayed_event_is_released_again_and_its_failures_count_from_zero() {
    let (mut world, id) = World::with_destination(1);
    world.max_attempts = 1;
    let event = world.accept(id);
    world.fold_all();
    world.step();
    world.start_all();
    world.finish(event, Outcome::Timeout);
    world.fold_all();
    world.flush();
    assert!(world.replay(event));
    world.fold_all();
    let jobs = world.step();
    assert_eq!((jobs[0].event_id, jobs[0].attempts, jobs[0].failed_attempts), (event, 1, 0));
    world.check_tables();
}

#[test]
fn a_page_of_the_log_may_end_between_an_outcome_and_what_follows() {
    let (mut world, id) = World::with_destination(1);
    let event = world.accept(id);
    world.fold_all();
    world.step();
    world.start_all();
    world.finish(event, Outcome::Timeout);
    // DeliveryStarted and DeliveryAttempted, and not yet RetryScheduled.
    world.fold(2);
    world.flush();
    world.step();
    world.fold_all();
    assert_eq!(world.start_all(), [], "no attempt before the retry's time");
    world.pass(TimeDelta::seconds(10));
    assert_eq!(events(&world.step()), [event]);
    world.check_tables();
}

#[test]
fn idle_lanes_are_evicted_and_loaded_with_the_same_state() {
    let mut world = World::new();
    for number in 0..=255_u8 {
        world.register(number, 1);
    }
    let id = destination_id(7);
    for _ in 0..4 {
        world.max_attempts = 1;
        world.accept(id);
        world.fold_all();
        world.step();
        let started = world.start_all();
        world.finish(started[0], Outcome::Timeout);
        world.fold_all();
    }
    world.flush();
    world.core.schedule.evict_idle_lanes(0);
    assert!(!world.core.schedule.lanes.contains_key(&id));
    world.accept(id);
    world.fold_all();
    world.step();
    let started = world.start_all();
    world.finish(started[0], Outcome::Timeout);
    world.fold_all();
    world.step();
    assert_eq!(world.stage(id), Stage::Suspended, "the four earlier failures count");
}
