//! Any fact of any aggregate, read back from its stored form.

use cqrs_es::{Aggregate, DomainEvent};
use thiserror::Error;

use crate::api_key::{ApiKey, ApiKeyFact};
use crate::claim::{Claim, ClaimFact};
use crate::destination::{Destination, DestinationFact};
use crate::invite::{Invite, InviteFact};
use crate::sender::{Sender, SenderFact};
use crate::session::{Session, SessionFact};
use crate::tenant::{Tenant, TenantFact};
use crate::user::{User, UserFact};
use crate::webhook_event::{WebhookEvent, WebhookEventFact};

/// A fact, whichever aggregate it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// Of an API key.
    ApiKey(ApiKeyFact),
    /// Of a claim.
    Claim(ClaimFact),
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

/// A stored fact that this version of the program cannot read.
#[derive(Debug, Error)]
pub enum UnreadableFact {
    /// No aggregate has this name.
    #[error("no aggregate is called {0:?}")]
    UnknownAggregate(String),
    /// The stored form is not that of a fact of the aggregate.
    #[error("not a fact of {aggregate}")]
    Malformed {
        /// The aggregate.
        aggregate: &'static str,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

impl Fact {
    /// Its name, as it is stored and shown to auditors.
    #[must_use]
    pub fn event_type(&self) -> String {
        match self {
            Self::ApiKey(fact) => fact.event_type(),
            Self::Claim(fact) => fact.event_type(),
            Self::Destination(fact) => fact.event_type(),
            Self::Invite(fact) => fact.event_type(),
            Self::Sender(fact) => fact.event_type(),
            Self::Session(fact) => fact.event_type(),
            Self::Tenant(fact) => fact.event_type(),
            Self::User(fact) => fact.event_type(),
            Self::WebhookEvent(fact) => fact.event_type(),
        }
    }

    /// Reads the stored form (JSON text) of a fact of the aggregate called `aggregate_type`.
    pub fn read(aggregate_type: &str, stored: &str) -> Result<Self, UnreadableFact> {
        fn parse<A: Aggregate>(stored: &str, wrap: fn(A::Event) -> Fact) -> Result<Fact, UnreadableFact> {
            serde_json::from_str(stored)
                .map(wrap)
                .map_err(|source| UnreadableFact::Malformed { aggregate: A::TYPE, source })
        }
        match aggregate_type {
            WebhookEvent::TYPE => parse::<WebhookEvent>(stored, Self::WebhookEvent),
            Destination::TYPE => parse::<Destination>(stored, Self::Destination),
            Sender::TYPE => parse::<Sender>(stored, Self::Sender),
            Tenant::TYPE => parse::<Tenant>(stored, Self::Tenant),
            User::TYPE => parse::<User>(stored, Self::User),
            Session::TYPE => parse::<Session>(stored, Self::Session),
            Invite::TYPE => parse::<Invite>(stored, Self::Invite),
            ApiKey::TYPE => parse::<ApiKey>(stored, Self::ApiKey),
            Claim::TYPE => parse::<Claim>(stored, Self::Claim),
            unknown => Err(UnreadableFact::UnknownAggregate(unknown.to_owned())),
        }
    }
}
