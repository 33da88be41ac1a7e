//! The `given`, `when`, `then` of the tests, and the ids they use.

use std::fmt::Debug;

use aggregates::fact::{Fact, StoredFact};
use aggregates::ids::{DestinationId, SenderId, TenantId, UserId};
use aggregates::sealed::{Sealed, TokenHash};
use aggregates::{Decide, Facts};
use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::DomainEvent;
use uuid::Uuid;

pub(crate) const ACME: TenantId = TenantId(Uuid::from_u128(0xac3e));
pub(crate) const ALICE: UserId = UserId(Uuid::from_u128(0xa11ce));
pub(crate) const BOB: UserId = UserId(Uuid::from_u128(0xb0b));
pub(crate) const SHOP: DestinationId = DestinationId(Uuid::from_u128(0x5809));
pub(crate) const GITHUB: SenderId = SenderId(Uuid::from_u128(0x917));

/// Time this many seconds after the start of the tests' timeline.
pub(crate) fn moment(seconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(20_000) + TimeDelta::seconds(seconds)
}

pub(crate) fn token(name: &str) -> TokenHash {
    TokenHash(name.to_owned())
}

pub(crate) fn sealed(name: &str) -> Sealed {
    Sealed { data_key: Uuid::from_u128(0xda7a), ciphertext: name.to_owned() }
}

/// Aggregate after some facts.
#[derive(Debug)]
pub(crate) struct Given<A>(A);

/// Decision of an aggregate on a command.
#[derive(Debug)]
pub(crate) struct Answer<A: Decide> {
    aggregate: A,
    answer: Result<Vec<A::Event>, A::Error>,
}

pub(crate) fn given<A: Decide>(facts: impl IntoIterator<Item = A::Event>) -> Given<A> {
    let mut aggregate = A::default();
    for fact in facts {
        aggregate.apply(fact);
    }
    Given(aggregate)
}

impl<A> Given<A>
where
    A: Decide + Debug,
    A::Command: Clone,
    A::Event: Facts,
    A::Error: PartialEq,
{
    /// Decides a command. Every decision is also checked to depend on facts and command only, and to survive
    /// storing and reading.
    pub(crate) fn when(self, command: A::Command) -> Answer<A> {
        let answer = self.0.decide(command.clone());
        assert_eq!(answer, self.0.decide(command), "the same command gave another decision");
        for fact in answer.iter().flatten() {
            let name = fact.event_type();
            assert!(A::Event::NAMES.contains(&name.as_str()), "{name} is missing from the list of facts");
            let stored = serde_json::to_string(fact).expect("a fact that can be stored");
            let version = fact.event_version();
            let read = Fact::read(StoredFact {
                aggregate_type: A::TYPE,
                event_type: &name,
                event_version: &version,
                payload: &stored,
            })
            .expect("a fact that can be read");
            assert_eq!(
                stored_form(&read),
                serde_json::to_value(fact).expect("a fact"),
                "{name} changed when it was stored"
            );
        }
        Answer { aggregate: self.0, answer }
    }

    pub(crate) fn state(&self) -> &A {
        &self.0
    }
}

impl<A: Decide + Debug> Answer<A>
where
    A::Error: PartialEq,
{
    /// Expects exactly these facts, and applies them.
    #[track_caller]
    pub(crate) fn then(mut self, facts: impl IntoIterator<Item = A::Event>) -> Given<A> {
        let facts: Vec<_> = facts.into_iter().collect();
        assert_eq!(self.answer, Ok(facts.clone()));
        for fact in facts {
            self.aggregate.apply(fact);
        }
        Given(self.aggregate)
    }

    /// Expects that the command is ignored.
    #[track_caller]
    pub(crate) fn then_nothing(self) -> Given<A> {
        self.then([])
    }

    #[track_caller]
    pub(crate) fn then_refused(self, refusal: A::Error) {
        assert_eq!(self.answer, Err(refusal));
    }
}

/// Returns the JSON of a fact of any aggregate.
pub(crate) fn stored_form(fact: &Fact) -> serde_json::Value {
    fact.to_json().expect("a fact that can be stored")
}
