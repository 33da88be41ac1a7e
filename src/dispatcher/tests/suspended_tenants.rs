//! The operator suspends a tenant: its events wait with their counts until it is resumed.

use aggregates::attempt_outcome::Outcome;
use aggregates::ids::TenantId;
use chrono::TimeDelta;
use uuid::Uuid;

use super::model::{REPUBLISH_AFTER, TENANT, World};

const NEIGHBOUR: TenantId = TenantId(Uuid::from_u128(0x2e16));

#[test]
fn nothing_of_a_suspended_tenant_is_released_until_it_is_resumed() {
    let (mut world, id) = World::with_destination(3);
    let neighbour = world.register_for(NEIGHBOUR, 1, 3);
    let waiting = world.accept_many(id, 5);
    world.suspend(TENANT);
    let accepted = world.accept(neighbour);
    world.fold_all();
    let released = |world: &mut World| world.step().iter().map(|job| job.event_id).collect::<Vec<_>>();
    assert_eq!(released(&mut world), [accepted]);
    world.pass_reading(REPUBLISH_AFTER * 2);
    assert!(released(&mut world).iter().all(|event| *event == accepted), "only its job is published again");
    world.resume(TENANT);
    world.fold_all();
    assert_eq!(released(&mut world), waiting[..3]);
}

#[test]
fn released_jobs_are_void_while_their_tenant_is_suspended_and_are_released_first_afterwards() {
    let (mut world, id) = World::with_destination(3);
    let accepted = world.accept_many(id, 5);
    world.fold_all();
    world.step();
    let copies = world.queue.clone();
    world.suspend(TENANT);
    // Before the dispatcher has read of it.
    assert_eq!(world.start_all(), []);
    world.fold_all();
    assert_eq!(world.step(), []);
    world.resume(TENANT);
    world.fold_all();
    let released: Vec<_> = world.step().iter().map(|job| job.event_id).collect();
    assert_eq!(released, accepted[..3]);
    // Together with copies of the jobs of before, which are valid again.
    world.queue.extend(copies);
    assert_eq!(world.start_all(), accepted[..3]);
    world.check_tables();
}

#[test]
fn an_attempt_in_flight_ends_and_its_retry_waits_with_its_count() {
    let (mut world, id) = World::with_destination(1);
    let event = world.accept(id);
    world.fold_all();
    world.step();
    world.start_all();
    world.suspend(TENANT);
    world.fold_all();
    assert!(world.finish(event, Outcome::Timeout));
    world.pass_reading(TimeDelta::hours(1));
    assert_eq!(world.step(), []);
    world.resume(TENANT);
    world.fold_all();
    let jobs = world.step();
    assert_eq!((jobs[0].event_id, jobs[0].attempts, jobs[0].failed_attempts), (event, 1, 1));
}

#[test]
fn a_new_leader_knows_which_tenants_are_suspended() {
    for flushed in [true, false] {
        let (mut world, id) = World::with_destination(3);
        world.accept_many(id, 2);
        world.suspend(TENANT);
        world.fold_all();
        if flushed {
            world.flush();
        }
        world.change_leader();
        assert_eq!(world.step(), []);
        world.check_tables();
        world.resume(TENANT);
        world.change_leader();
        assert_eq!(world.step().len(), 2);
        world.check_tables();
    }
}

#[test]
fn a_destination_that_is_registered_or_read_again_belongs_to_its_suspended_tenant() {
    let (mut world, id) = World::with_destination(3);
    world.suspend(TENANT);
    world.fold_all();
    let new = world.register(1, 3);
    world.accept(new);
    world.fold_all();
    world.flush();
    world.core.schedule.evict_idle_lanes(0);
    world.accept(id);
    world.fold_all();
    assert_eq!(world.step(), []);
    world.resume(TENANT);
    world.fold_all();
    assert_eq!(world.step().len(), 2);
}
