//! Any fact of any aggregate, read back from its stored form.

use cqrs_es::{Aggregate, DomainEvent};
use thiserror::Error;

use crate::Facts;
use crate::api_key::{ApiKey, ApiKeyFact};
use crate::destination::{Destination, DestinationFact};
use crate::invite::{Invite, InviteFact};
use crate::reservation::{Reservation, ReservationFact};
use crate::sender::{Sender, SenderFact};
use crate::session::{Session, SessionFact};
use crate::tenant::{Tenant, TenantFact};
use crate::upcasting::{self, Age};
use crate::user::{User, UserFact};
use crate::webhook_event::{WebhookEvent, WebhookEventFact};

/// A fact, whichever aggregate it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// Of an API key.
    ApiKey(ApiKeyFact),
    /// Of a claim.
    Reservation(ReservationFact),
    /// Of a destination.
    Destination(DestinationFact),
    /// Of an invite.
    Invite(InviteFact),
    /// Of a sender.
    Sender(SenderFact),
    /// Of a session.
    Session(SessionFact),
    /// Of a tenant.
    Tenant(TenantFact),
    /// Of a user.
    User(UserFact),
    /// Of a webhook event.
    WebhookEvent(WebhookEventFact),
}

/// A fact as it stands in the log.
#[derive(Clone, Copy, Debug)]
pub struct StoredFact<'a> {
    /// Name of its aggregate.
    pub aggregate_type: &'a str,
    pub event_type: &'a str,
    /// Version of the form in which it is stored.
    pub event_version: &'a str,
    /// That form: JSON text.
    pub payload: &'a str,
}

/// A stored fact that this version of the program cannot read.
#[derive(Debug, Error)]
pub enum UnreadableFact {
    /// No aggregate has this name.
    #[error("no aggregate is called {0:?}")]
    UnknownAggregate(String),
    /// It is stored in a version that this program does not know: a newer one wrote it.
    #[error("{event_type} is stored in version {event_version}, which this program does not know")]
    UnknownVersion { event_type: String, event_version: String },
    /// The stored form is not that of a fact of the aggregate.
    #[error("not a fact of {aggregate}")]
    Malformed {
        aggregate: &'static str,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

impl Fact {
    /// The names of all aggregates.
    pub const AGGREGATES: [&str; 9] = [
        ApiKey::TYPE,
        Reservation::TYPE,
        Destination::TYPE,
        Invite::TYPE,
        Sender::TYPE,
        Session::TYPE,
        Tenant::TYPE,
        User::TYPE,
        WebhookEvent::TYPE,
    ];

    /// Its name, as it is stored and shown to auditors.
    #[must_use]
    pub fn event_type(&self) -> String {
        match self {
            Self::ApiKey(fact) => fact.event_type(),
            Self::Reservation(fact) => fact.event_type(),
            Self::Destination(fact) => fact.event_type(),
            Self::Invite(fact) => fact.event_type(),
            Self::Sender(fact) => fact.event_type(),
            Self::Session(fact) => fact.event_type(),
            Self::Tenant(fact) => fact.event_type(),
            Self::User(fact) => fact.event_type(),
            Self::WebhookEvent(fact) => fact.event_type(),
        }
    }

    /// Reads a stored fact, in whichever version it was stored.
    pub fn read(stored: StoredFact<'_>) -> Result<Self, UnreadableFact> {
        fn parse<A: Aggregate<Event: Facts>>(
            stored: StoredFact<'_>,
            wrap: fn(A::Event) -> Fact,
        ) -> Result<Fact, UnreadableFact> {
            let malformed = |source| UnreadableFact::Malformed { aggregate: A::TYPE, source };
            let newest = A::Event::version_of(stored.event_type);
            let fact = match upcasting::age(stored.event_type, stored.event_version, newest) {
                Age::Current => serde_json::from_str(stored.payload),
                Age::Outdated(version) => serde_json::from_str(stored.payload).and_then(|mut form| {
                    upcasting::upcast(stored.event_type, version, &mut form);
                    serde_json::from_value(form)
                }),
                Age::Unknown => {
                    return Err(UnreadableFact::UnknownVersion {
                        event_type: stored.event_type.to_owned(),
                        event_version: stored.event_version.to_owned(),
                    });
                }
            };
            fact.map(wrap).map_err(malformed)
        }
        match stored.aggregate_type {
            WebhookEvent::TYPE => parse::<WebhookEvent>(stored, Self::WebhookEvent),
            Destination::TYPE => parse::<Destination>(stored, Self::Destination),
            Sender::TYPE => parse::<Sender>(stored, Self::Sender),
            Tenant::TYPE => parse::<Tenant>(stored, Self::Tenant),
            User::TYPE => parse::<User>(stored, Self::User),
            Session::TYPE => parse::<Session>(stored, Self::Session),
            Invite::TYPE => parse::<Invite>(stored, Self::Invite),
            ApiKey::TYPE => parse::<ApiKey>(stored, Self::ApiKey),
            Reservation::TYPE => parse::<Reservation>(stored, Self::Reservation),
            unknown => Err(UnreadableFact::UnknownAggregate(unknown.to_owned())),
        }
    }
}
