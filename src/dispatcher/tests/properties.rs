//! Properties that hold for any order of events: the limit holds, no event is forgotten, and the tables agree
//! with the log.

use aggregates::attempt_outcome::Outcome;
use aggregates::destination::Stage;
use aggregates::ids::{DestinationId, WebhookEventId};
use aggregates_testing::cases;
use chrono::TimeDelta;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::model::{Model, TENANT, VANISHED_AFTER, World, destination_id};

/// Destinations 0, 1 and 2, with these limits.
const LIMITS: [u32; 3] = [1, 2, 7];
/// No limit is set higher than this.
const LIMIT_MAX: usize = 8;

/// One action of the dispatcher or of something around it.
#[derive(Clone, Debug)]
enum Action {
    /// A source sends webhooks.
    Accept(Index, u8),
    /// The dispatcher's process accepts webhooks, and starts their attempts if it may.
    AcceptHere(Index, u8),
    /// It begins to accept one: it takes a lease if a permit is on offer.
    Prepare(Index),
    /// What it began is committed; the answer may be lost.
    AcceptPrepared {
        prepared: Index,
        is_answered: bool,
    },
    /// The dispatcher reads so many facts, and does what is due.
    Dispatch(u8),
    /// The dispatcher does what is due, without reading.
    Step,
    /// The dispatcher gets what its own process has accepted, and does what is due.
    HandOver,
    Flush,
    /// A worker takes a job; the queue may keep a copy.
    Start {
        job: Index,
        copied: bool,
    },
    /// The queue loses a job.
    Lose(Index),
    Finish(Index, Outcome),
    Cancel(Index),
    Replay(Index),
    Erase(Index),
    /// Time passes in which the dispatcher does nothing.
    Pass(u32),
    /// Time passes in which the dispatcher reads the log.
    PassReading(u32),
    /// The dispatcher's wall clock is set, by seconds.
    SetClock(i32),
    /// The wall clocks of the other processes are that many seconds ahead.
    OthersAhead(i32),
    /// The database refuses the steps of breakers, or takes them again.
    StepsFail(bool),
    ChangeLimit(Index, u32),
    Switch(Index, bool),
    /// The operator suspends the tenant, or resumes it.
    Suspend(bool),
    /// The leader dies, and another reads what it left.
    Die,
}

use Action::{
    Accept, AcceptHere, AcceptPrepared, Cancel, ChangeLimit, Die, Dispatch, Erase, Finish, Flush, HandOver,
    Lose, OthersAhead, Pass, PassReading, Prepare, Replay, SetClock, Start, Step, StepsFail, Suspend, Switch,
};

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![4 => Just(Outcome::Succeeded), 6 => Just(Outcome::Timeout), 1 => Just(Outcome::Unknown)]
}

/// Actions without a change of settings.
fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        8 => (any::<Index>(), 1..12_u8).prop_map(|(place, count)| Accept(place, count)),
        6 => (any::<Index>(), 1..6_u8).prop_map(|(place, count)| AcceptHere(place, count)),
        4 => any::<Index>().prop_map(Prepare),
        4 => (any::<Index>(), prop::bool::weighted(0.9))
            .prop_map(|(prepared, is_answered)| AcceptPrepared { prepared, is_answered }),
        12 => (0..40_u8).prop_map(Dispatch),
        2 => Just(Step),
        6 => Just(HandOver),
        3 => Just(Flush),
        20 => (any::<Index>(), prop::bool::weighted(0.2)).prop_map(|(job, copied)| Start { job, copied }),
        1 => any::<Index>().prop_map(Lose),
        16 => (any::<Index>(), outcome()).prop_map(|(attempt, outcome)| Finish(attempt, outcome)),
        1 => any::<Index>().prop_map(Cancel),
        1 => any::<Index>().prop_map(Replay),
        1 => any::<Index>().prop_map(Erase),
        6 => prop_oneof![3 => 1..2_000_u32, 2 => 2_000..60_000_u32, 1 => 60_000..600_000_u32].prop_map(Pass),
        3 => (1..90_000_u32).prop_map(PassReading),
        1 => (-4_000..4_000_i32).prop_map(SetClock),
        1 => (-4_000..4_000_i32).prop_map(OthersAhead),
        1 => any::<bool>().prop_map(StepsFail),
        2 => prop::bool::weighted(0.4).prop_map(Suspend),
        1 => Just(Die),
    ]
}

/// Actions, and changes of a destination's settings.
fn action_or_change() -> impl Strategy<Value = Action> {
    prop_oneof![
        20 => action(),
        1 => (any::<Index>(), 1..=LIMIT_MAX as u32).prop_map(|(place, limit)| ChangeLimit(place, limit)),
        1 => (any::<Index>(), any::<bool>()).prop_map(|(place, on)| Switch(place, on)),
    ]
}

fn one_of<T: Copy>(all: &[T], index: Index) -> Option<T> {
    (!all.is_empty()).then(|| *index.get(all))
}

fn any_destination(index: Index) -> DestinationId {
    destination_id(index.index(LIMITS.len()) as u8)
}

impl World {
    fn with_three_destinations() -> Self {
        let mut world = Self::new();
        world.max_attempts = 4;
        for (number, limit) in (0_u8..).zip(LIMITS) {
            world.register(number, limit);
        }
        world
    }

    fn act(&mut self, action: &Action) {
        match *action {
            Accept(place, count) => {
                let id = any_destination(place);
                if self.receives(id) {
                    self.accept_many(id, count.into());
                }
            }
            AcceptHere(place, count) => {
                let id = any_destination(place);
                if self.receives(id) {
                    for _ in 0..count {
                        self.accept_here(id);
                    }
                }
            }
            Prepare(place) => {
                let prepared = self.prepare(any_destination(place));
                self.prepared.push(prepared);
            }
            AcceptPrepared { prepared, is_answered } => {
                if !self.prepared.is_empty() {
                    let place = prepared.index(self.prepared.len());
                    let prepared = self.prepared.remove(place);
                    if self.receives(prepared.destination_id) {
                        self.accept_prepared(prepared, is_answered);
                    }
                }
            }
            Dispatch(facts) => {
                self.fold(facts.into());
                self.step();
            }
            Step => {
                self.step();
            }
            HandOver => {
                self.hand_over();
                self.step();
            }
            Flush => self.flush(),
            Start { job, copied } => {
                if !self.queue.is_empty() {
                    let place = job.index(self.queue.len());
                    if copied {
                        let copy = self.queue[place].clone();
                        self.queue.push(copy);
                    }
                    self.start(place);
                }
            }
            Lose(job) => {
                if !self.queue.is_empty() {
                    let place = job.index(self.queue.len());
                    self.queue.remove(place);
                }
            }
            Finish(attempt, outcome) => {
                if let Some(event) = one_of(&self.requests_in_flight(), attempt) {
                    self.finish(event, outcome);
                }
            }
            Cancel(index) => self.if_any(index, Model::cancel),
            Replay(index) => self.if_any(index, Model::replay),
            Erase(index) => self.if_any(index, Model::erase),
            Pass(milliseconds) => self.pass(TimeDelta::milliseconds(milliseconds.into())),
            PassReading(milliseconds) => self.pass_reading(TimeDelta::milliseconds(milliseconds.into())),
            SetClock(seconds) => self.set_clock(TimeDelta::seconds(seconds.into())),
            OthersAhead(seconds) => self.others_ahead = TimeDelta::seconds(seconds.into()),
            StepsFail(fail) => self.steps_fail = fail,
            ChangeLimit(place, limit) => self.change_limit(any_destination(place), limit),
            Switch(place, on) => self.switch(any_destination(place), on),
            Suspend(true) => self.suspend(TENANT),
            Suspend(false) => self.resume(TENANT),
            Die => self.change_leader(),
        }
    }

    /// As ingest does: a destination that is not active accepts nothing, nor does a suspended tenant.
    fn receives(&self, id: DestinationId) -> bool {
        matches!(self.stage(id), Stage::Active | Stage::Probing) && self.suspended_tenants.is_empty()
    }

    fn if_any(&mut self, index: Index, act: fn(&mut Model, WebhookEventId) -> bool) {
        if let Some(event) = one_of(&self.every_event(), index) {
            act(self, event);
        }
    }

    /// Lets time pass until every event has ended, while every attempt succeeds.
    fn deliver_everything(&mut self) {
        self.steps_fail = false;
        self.resume(TENANT);
        self.prepared.clear();
        for _ in 0..2_000 {
            if self.unfinished().is_empty() {
                return;
            }
            self.fold_all();
            self.step();
            self.start_all();
            for event in self.requests_in_flight() {
                self.finish(event, Outcome::Succeeded);
            }
            self.fold_all();
            if self.queue.is_empty() {
                let wait = self.core.next_deadline(self.present()).unwrap_or_default();
                self.pass_reading(TimeDelta::from_std(wait).expect("a wait of days at most"));
            }
        }
        panic!("not delivered: {:?} of {:?}", self.unfinished(), self.core.schedule);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases(64, 125)) })]

    #[test]
    fn never_more_attempts_are_in_flight_than_the_limit(actions in vec(action(), 1..250)) {
        let mut world = World::with_three_destinations();
        for action in &actions {
            world.act(action);
            for (number, limit) in (0_u8..).zip(LIMITS) {
                let in_flight = world.in_flight(destination_id(number));
                prop_assert!(in_flight <= limit as usize, "{in_flight} of {limit} after {action:?}");
            }
        }
    }

    /// The model asserts it where an attempt is given up.
    #[test]
    fn no_attempt_is_given_up_while_its_request_may_be_in_progress(actions in vec(action_or_change(), 1..250)) {
        let mut world = World::with_three_destinations();
        for action in &actions {
            world.act(action);
        }
        world.pass_reading(VANISHED_AFTER * 2);
        world.step();
        prop_assert_eq!(world.attempts_in_flight(), [], "attempts without an outcome are given up at last");
    }

    #[test]
    fn nothing_is_released_beyond_the_current_limit(actions in vec(action_or_change(), 1..250)) {
        let mut world = World::with_three_destinations();
        for action in &actions {
            let schedule = &world.core.schedule;
            let mut in_flight_before = schedule.in_flight_by_lane();
            for (id, count) in &mut in_flight_before {
                *count += schedule.leased(*id);
            }
            world.act(action);
            if matches!(action, Dispatch(_) | HandOver | Step) {
                for (id, lane) in &world.core.schedule.lanes {
                    let before = in_flight_before.get(id).copied().unwrap_or_default();
                    let now = lane.in_flight.iter().filter(|id| !world.never_sent.contains(id)).count();
                    let limit = lane.state.concurrency_limit as usize;
                    prop_assert!(now <= before.max(limit), "{now} of {limit}, {before} before");
                }
            }
        }
    }

    #[test]
    fn no_attempt_starts_at_an_inactive_or_suspended_destination_or_for_a_suspended_tenant(actions in vec(action_or_change(), 1..250)) {
        let mut world = World::with_three_destinations();
        for action in &actions {
            let before: Vec<_> = (0..3).map(|number| world.in_flight(destination_id(number))).collect();
            world.act(action);
            for (number, before) in (0..3).zip(before) {
                let id = destination_id(number);
                let started = world.in_flight(id) > before;
                prop_assert!(!started || world.suspended_tenants.is_empty(), "the tenant is suspended");
                match world.stage(id) {
                    Stage::Active => {}
                    Stage::Probing => prop_assert!(!started || before == 0, "a second probe"),
                    Stage::Suspended | Stage::Inactive => prop_assert!(!started),
                }
            }
        }
    }

    #[test]
    fn no_event_is_forgotten(actions in vec(action(), 1..250)) {
        let mut world = World::with_three_destinations();
        for action in &actions {
            world.act(action);
        }
        world.deliver_everything();
        world.check_tables();
    }

    #[test]
    fn no_event_is_forgotten_at_destinations_that_are_activated_at_the_end(
        actions in vec(action_or_change(), 1..250),
    ) {
        let mut world = World::with_three_destinations();
        for action in &actions {
            world.act(action);
        }
        for number in 0..3 {
            world.switch(destination_id(number), true);
        }
        world.deliver_everything();
        world.check_tables();
    }

    #[test]
    fn the_tables_agree_with_the_log(actions in vec(action_or_change(), 1..250)) {
        let mut world = World::with_three_destinations();
        for action in &actions {
            world.act(action);
        }
        world.check_tables();
        // A new leader that reads them has the same state.
        world.change_leader();
        world.check_tables();
    }

    #[test]
    fn memory_is_bounded_for_any_backlog(actions in vec(action_or_change(), 1..250)) {
        let mut world = World::with_three_destinations();
        world.accept_many(destination_id(1), 500);
        for action in &actions {
            world.act(action);
            for lane in world.core.schedule.lanes.values() {
                // Recalled jobs join a window that may be full.
                let most = lane.window() + LIMIT_MAX;
                prop_assert!(lane.ready.len() <= most, "{} wait in a window of {most}", lane.ready.len());
            }
            let held: usize =
                world.core.schedule.lanes.values().map(|lane| lane.ready.len() + lane.in_flight.len()).sum();
            prop_assert_eq!(world.core.schedule.tracked.len(), held, "an event that no lane holds");
        }
    }
}
