//! Properties of a destination and its circuit breaker for any sequence of commands, outcomes and steps of clocks.
//!
//! The dispatcher folds the breaker from the same facts as the aggregate, and appends its steps at the version that
//! it has folded.

use aggregates::Decide;
use aggregates::attempt_outcome::Outcome;
use aggregates::circuit_breaker::{BreakerStep, CircuitBreaker, PAUSE_TIMERS_MAX};
use aggregates::destination::{
    AuthChange, Destination, DestinationCommand as Command, DestinationFact as Fact, Stage,
};
use aggregates::sealed::TokenHash;
use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::Aggregate;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::given::{ACME, moment};

const THRESHOLD: u32 = 3;
const TIMER_SECONDS: u32 = 60;

#[derive(Clone, Debug)]
enum Action {
    /// An attempt ends.
    Attempt(Outcome),
    /// The dispatcher takes the step that the breaker asks for, if any.
    Step,
    /// A user changes the destination.
    Change {
        limit: Option<u32>,
        active: Option<bool>,
    },
    RegenerateToken,
    /// The dispatcher's clock is set, or time passes.
    Clock(i64),
}

fn action() -> impl Strategy<Value = Action> {
    let outcome = prop_oneof![
        3 => Just(Outcome::Timeout),
        1 => Just(Outcome::Succeeded),
        1 => prop::sample::select(Outcome::ALL.to_vec()),
    ];
    prop_oneof![
        10 => outcome.prop_map(Action::Attempt),
        10 => Just(Action::Step),
        1 => (prop::option::of(1..9_u32), prop::option::of(any::<bool>()))
            .prop_map(|(limit, active)| Action::Change { limit, active }),
        1 => Just(Action::RegenerateToken),
        4 => (1..2_000_i64).prop_map(Action::Clock),
        1 => (-2_000..0_i64).prop_map(Action::Clock),
    ]
}

/// A destination, and the breaker that is folded from its facts.
struct World {
    destination: Destination,
    breaker: CircuitBreaker,
    facts: Vec<Fact>,
    now: DateTime<Utc>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            destination: Destination::default(),
            breaker: CircuitBreaker::default(),
            facts: vec![],
            now: moment(0),
        };
        let (url, at) = ("https://shop.example.com".to_owned(), world.now);
        let ingest_token_hash = TokenHash::default();
        world.command(Command::Register {
            tenant_id: ACME,
            url,
            concurrency_limit: 5,
            auth: None,
            ingest_token_hash,
            at,
        });
        world
    }

    fn command(&mut self, command: Command) {
        for fact in self.destination.decide(command).unwrap_or_default() {
            self.append(fact);
        }
    }

    fn append(&mut self, fact: Fact) {
        self.destination.apply(fact.clone());
        self.breaker.apply(&fact);
        self.facts.push(fact);
    }

    fn stage(&self) -> Stage {
        let Destination::Registered(state) = &self.destination else { panic!("it is registered") };
        state.stage
    }

    fn act(&mut self, action: &Action) {
        let at = self.now;
        match *action {
            Action::Attempt(outcome) => self.breaker.record(outcome),
            Action::Step => {
                if let Some(step) = self.breaker.step(THRESHOLD, at) {
                    let fact = self.breaker.transition(step, TIMER_SECONDS, at);
                    self.append(fact.expect("a step that the stage allows"));
                }
            }
            Action::Change { limit, active } => {
                let (concurrency_limit, auth) = (limit, AuthChange::Keep);
                self.command(Command::Change { url: None, concurrency_limit, active, auth, at });
            }
            Action::RegenerateToken => {
                self.command(Command::RegenerateIngestToken { ingest_token_hash: TokenHash::default(), at });
            }
            Action::Clock(seconds) => self.now += TimeDelta::seconds(seconds),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(aggregates_testing::cases(256, 60)))]

    #[test]
    fn the_breaker_is_in_the_stage_of_the_destination(actions in vec(action(), 0..120)) {
        let mut world = World::new();
        for action in &actions {
            world.act(action);
            prop_assert_eq!(world.breaker.stage, world.stage());
            let waits = world.breaker.next_check_at.is_some();
            prop_assert_eq!(waits, world.stage() == Stage::Suspended);
            let most = world.breaker.attempts_max(5);
            prop_assert_eq!(most > 0, matches!(world.stage(), Stage::Active | Stage::Probing));
        }
    }

    #[test]
    fn after_each_step_there_is_nothing_more_to_do_until_something_happens(actions in vec(action(), 0..120)) {
        let mut world = World::new();
        for action in &actions {
            world.act(action);
            if matches!(action, Action::Step) {
                prop_assert_eq!(world.breaker.step(THRESHOLD, world.now), None);
            }
        }
    }

    #[test]
    fn a_breaker_opens_for_a_bounded_time_and_only_after_failures(actions in vec(action(), 0..120)) {
        let mut world = World::new();
        for action in &actions {
            let before = world.breaker.clone();
            world.act(action);
            let opens = before.stage != Stage::Suspended && world.breaker.stage == Stage::Suspended;
            let Some(check) = world.breaker.next_check_at.filter(|_| opens) else { continue };
            prop_assert!(before.consecutive_failures >= THRESHOLD || before.failed_in_stage);
            let timer = i64::from(TIMER_SECONDS);
            let pause = (check - world.now).num_seconds();
            prop_assert!((timer..=timer * i64::from(PAUSE_TIMERS_MAX)).contains(&pause), "{pause}");
        }
    }

    #[test]
    fn a_success_closes_the_breaker_and_nothing_else_of_it_remains(actions in vec(action(), 0..120)) {
        let mut world = World::new();
        for action in &actions {
            world.act(action);
        }
        world.breaker.record(Outcome::Succeeded);
        let step = world.breaker.step(THRESHOLD, world.now);
        match world.stage() {
            Stage::Active | Stage::Inactive => prop_assert_eq!(step, None),
            Stage::Suspended | Stage::Probing => {
                prop_assert_eq!(step, Some(BreakerStep::Close));
                world.act(&Action::Step);
                prop_assert_eq!(world.breaker, CircuitBreaker::default());
            }
        }
    }

    #[test]
    fn the_names_of_facts_that_void_jobs_are_listed(actions in vec(action(), 0..120)) {
        use cqrs_es::DomainEvent;
        let mut world = World::new();
        for action in &actions {
            world.act(action);
        }
        for fact in &world.facts {
            prop_assert_eq!(fact.voids_jobs(), Fact::VOIDING_JOBS.contains(&fact.event_type().as_str()));
        }
    }
}
