//! Whatever happens, in whatever order: the limit holds, nothing is forgotten, and the tables say what
//! the log says.

use aggregates::attempt_outcome::Outcome;
use aggregates::destination::Stage;
use aggregates::ids::{DestinationId, WebhookEventId};
use chrono::TimeDelta;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::world::{World, destination_id};

/// Destinations 0, 1 and 2, with these limits.
const LIMITS: [u32; 3] = [1, 2, 7];
/// No limit is set higher than this.
const LIMIT_MAX: usize = 8;

/// Something that happens.
#[derive(Clone, Debug)]
enum Happening {
    /// A source sends webhooks.
    Accept(Index, u8),
    /// The dispatcher reads so much of the log, and does what is due.
    Dispatch(u8),
    /// It does what is due and has read nothing.
    Step,
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
    Pass(u32),
    ChangeLimit(Index, u32),
    Switch(Index, bool),
    /// The leader dies, and another reads what it left.
    Die,
}

use Happening::{
    Accept, Cancel, ChangeLimit, Die, Dispatch, Erase, Finish, Flush, Lose, Pass, Replay, Start, Step, Switch,
};

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![4 => Just(Outcome::Succeeded), 6 => Just(Outcome::Timeout), 1 => Just(Outcome::Unknown)]
}

/// What happens by itself.
fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        8 => (any::<Index>(), 1..12_u8).prop_map(|(place, count)| Accept(place, count)),
        12 => (0..40_u8).prop_map(Dispatch),
        2 => Just(Step),
        3 => Just(Flush),
        20 => (any::<Index>(), prop::bool::weighted(0.2)).prop_map(|(job, copied)| Start { job, copied }),
        1 => any::<Index>().prop_map(Lose),
        16 => (any::<Index>(), outcome()).prop_map(|(attempt, outcome)| Finish(attempt, outcome)),
        1 => any::<Index>().prop_map(Cancel),
        1 => any::<Index>().prop_map(Replay),
        1 => any::<Index>().prop_map(Erase),
        6 => prop_oneof![3 => 1..2_000_u32, 2 => 2_000..60_000_u32, 1 => 60_000..600_000_u32].prop_map(Pass),
        1 => Just(Die),
    ]
}

/// What people do to a destination besides.
fn interference() -> impl Strategy<Value = Happening> {
    prop_oneof![
        20 => happening(),
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

    fn happens(&mut self, happening: &Happening) {
        match *happening {
            Accept(place, count) => {
                let id = any_destination(place);
                // As at the door: what does not receive takes nothing in.
                if matches!(self.stage(id), Stage::Active | Stage::Probing) {
                    self.accept_many(id, count.into());
                }
            }
            Dispatch(facts) => {
                self.fold(facts.into());
                self.step();
            }
            Step => {
                self.step();
            }
            Flush => self.flush(),
            Start { job, copied } => {
                if !self.queue.is_empty() {
                    let place = job.index(self.queue.len());
                    if copied {
                        self.queue.push(self.queue[place].clone());
                    }
                    self.start(place);
                }
            }
            Lose(job) => {
                if !self.queue.is_empty() {
                    self.queue.remove(job.index(self.queue.len()));
                }
            }
            Finish(attempt, outcome) => {
                if let Some(event) = one_of(&self.under_way(), attempt) {
                    self.finish(event, outcome);
                }
            }
            Cancel(index) => self.if_any(index, Self::cancel),
            Replay(index) => self.if_any(index, Self::replay),
            Erase(index) => self.if_any(index, Self::erase),
            Pass(milliseconds) => self.pass(TimeDelta::milliseconds(milliseconds.into())),
            ChangeLimit(place, limit) => self.change_limit(any_destination(place), limit),
            Switch(place, on) => self.switch(any_destination(place), on),
            Die => self.change_leader(),
        }
    }

    fn if_any(&mut self, index: Index, asks: fn(&mut Self, WebhookEventId) -> bool) {
        if let Some(event) = one_of(&self.every_event(), index) {
            asks(self, event);
        }
    }

    /// From now on every attempt succeeds. Time passes, and nobody helps.
    fn all_goes_well(&mut self) {
        for _ in 0..2_000 {
            if self.on_their_way().is_empty() {
                return;
            }
            self.fold_all();
            self.step();
            self.start_all();
            for event in self.under_way() {
                self.finish(event, Outcome::Succeeded);
            }
            self.fold_all();
            if self.queue.is_empty() {
                // Asleep, until something becomes due.
                let (released, started) = self.schedule.oldest();
                let wakes = [
                    self.schedule.next_wake(),
                    released.map(|at| at + super::world::REPUBLISH_AFTER),
                    started.map(|at| at + super::world::VANISHED_AFTER),
                ];
                self.now = wakes.into_iter().flatten().min().map_or(self.now, |at| at.max(self.now));
            }
        }
        panic!("forgotten: {:?} of {:?}", self.on_their_way(), self.schedule);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn never_more_attempts_are_under_way_than_the_limit(happenings in vec(happening(), 1..250)) {
        let mut world = World::with_three_destinations();
        for happening in &happenings {
            world.happens(happening);
            for (number, limit) in (0_u8..).zip(LIMITS) {
                let in_flight = world.in_flight(destination_id(number));
                prop_assert!(in_flight <= limit as usize, "{in_flight} of {limit} after {happening:?}");
            }
        }
    }

    #[test]
    fn nothing_is_released_beyond_the_limit_of_the_moment(happenings in vec(interference(), 1..250)) {
        let mut world = World::with_three_destinations();
        for happening in &happenings {
            let under_way_before = world.schedule.under_way_of_lanes();
            world.happens(happening);
            if matches!(happening, Dispatch(_) | Step) {
                for (id, lane) in &world.schedule.lanes {
                    let before = under_way_before.get(id).copied().unwrap_or_default();
                    let now = lane.under_way.len();
                    let limit = lane.state.concurrency_limit as usize;
                    prop_assert!(now <= before.max(limit), "{now} of {limit}, {before} before");
                }
            }
        }
    }

    #[test]
    fn no_attempt_starts_at_a_destination_that_does_not_receive(happenings in vec(interference(), 1..250)) {
        let mut world = World::with_three_destinations();
        for happening in &happenings {
            let before: Vec<_> = (0..3).map(|number| world.in_flight(destination_id(number))).collect();
            world.happens(happening);
            for (number, before) in (0..3).zip(before) {
                let id = destination_id(number);
                let started = world.in_flight(id) > before;
                match world.stage(id) {
                    Stage::Active => {}
                    Stage::Probing => prop_assert!(!started || before == 0, "a second probe"),
                    Stage::Suspended | Stage::Inactive => prop_assert!(!started),
                }
            }
        }
    }

    #[test]
    fn nothing_is_forgotten(happenings in vec(happening(), 1..250)) {
        let mut world = World::with_three_destinations();
        for happening in &happenings {
            world.happens(happening);
        }
        world.all_goes_well();
        world.check_tables();
    }

    #[test]
    fn nothing_is_forgotten_at_a_destination_that_is_switched_on_in_the_end(
        happenings in vec(interference(), 1..250),
    ) {
        let mut world = World::with_three_destinations();
        for happening in &happenings {
            world.happens(happening);
        }
        for number in 0..3 {
            world.switch(destination_id(number), true);
        }
        world.all_goes_well();
        world.check_tables();
    }

    #[test]
    fn the_tables_say_what_the_log_says(happenings in vec(interference(), 1..250)) {
        let mut world = World::with_three_destinations();
        for happening in &happenings {
            world.happens(happening);
        }
        world.check_tables();
        // And a new leader that reads them comes to the same.
        world.change_leader();
        world.check_tables();
    }

    #[test]
    fn memory_is_bounded_whatever_the_backlog(happenings in vec(interference(), 1..250)) {
        let mut world = World::with_three_destinations();
        world.accept_many(destination_id(1), 500);
        for happening in &happenings {
            world.happens(happening);
            for lane in world.schedule.lanes.values() {
                // Jobs that were taken back join a window that may be full.
                let most = lane.window() + LIMIT_MAX;
                prop_assert!(lane.ready.len() <= most, "{} wait in a window of {most}", lane.ready.len());
            }
            let held: usize =
                world.schedule.lanes.values().map(|lane| lane.ready.len() + lane.under_way.len()).sum();
            prop_assert_eq!(world.schedule.open.len(), held, "an event that no lane holds");
        }
    }
}
