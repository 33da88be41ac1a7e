//! Facts of all aggregates as one type, and reading them from their stored form.

use cqrs_es::{Aggregate, DomainEvent};
use thiserror::Error;

use crate::Facts;
use crate::access::{Access, AccessFact};
use crate::api_key::{ApiKey, ApiKeyFact};
use crate::bulk_action::{BulkAction, BulkActionFact};
use crate::destination::{Destination, DestinationFact};
use crate::erasure::{Erasure, ErasureFact};
use crate::installation::{Installation, InstallationFact};
use crate::invite::{Invite, InviteFact};
use crate::legal_hold::{LegalHold, LegalHoldFact};
use crate::portal_link::{PortalLink, PortalLinkFact};
use crate::reservation::{Reservation, ReservationFact};
use crate::sender::{Sender, SenderFact};
use crate::session::{Session, SessionFact};
use crate::tenant::{Tenant, TenantFact};
use crate::upcasting::{self, StoredVersion};
use crate::user::{User, UserFact};
use crate::webhook_event::{WebhookEvent, WebhookEventFact};

/// Fact of any aggregate.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    Access(AccessFact),
    ApiKey(ApiKeyFact),
    BulkAction(BulkActionFact),
    Reservation(ReservationFact),
    Destination(DestinationFact),
    Erasure(ErasureFact),
    Installation(InstallationFact),
    Invite(InviteFact),
    LegalHold(LegalHoldFact),
    PortalLink(PortalLinkFact),
    Sender(SenderFact),
    Session(SessionFact),
    Tenant(TenantFact),
    User(UserFact),
    WebhookEvent(WebhookEventFact),
}

/// Row of the event log, as far as it is needed to read the fact.
#[derive(Clone, Copy, Debug)]
pub struct StoredFact<'a> {
    pub aggregate_type: &'a str,
    pub event_type: &'a str,
    /// Version of the stored form, such as `1.0`.
    pub event_version: &'a str,
    /// JSON text.
    pub payload: &'a str,
}

/// Reason why a stored fact cannot be read.
#[derive(Debug, Error)]
pub enum UnreadableFact {
    #[error("unknown aggregate type {0:?}")]
    UnknownAggregate(String),
    /// A newer version of the program wrote the fact.
    #[error(
        "{event_type} is stored in version {event_version}, which this version of the program does not know"
    )]
    UnknownVersion { event_type: String, event_version: String },
    #[error("the payload is not a fact of {aggregate}")]
    Malformed {
        aggregate: &'static str,
        #[source]
        source: serde_json::Error,
    },
}

impl Fact {
    /// Names of all aggregates.
    pub const AGGREGATES: [&str; 15] = [
        Access::TYPE,
        ApiKey::TYPE,
        BulkAction::TYPE,
        Reservation::TYPE,
        Destination::TYPE,
        Erasure::TYPE,
        Installation::TYPE,
        Invite::TYPE,
        LegalHold::TYPE,
        PortalLink::TYPE,
        Sender::TYPE,
        Session::TYPE,
        Tenant::TYPE,
        User::TYPE,
        WebhookEvent::TYPE,
    ];

    /// Returns the name of its aggregate, as it is stored.
    #[must_use]
    pub fn aggregate_type(&self) -> &'static str {
        match self {
            Self::Access(_) => Access::TYPE,
            Self::ApiKey(_) => ApiKey::TYPE,
            Self::BulkAction(_) => BulkAction::TYPE,
            Self::Reservation(_) => Reservation::TYPE,
            Self::Destination(_) => Destination::TYPE,
            Self::Erasure(_) => Erasure::TYPE,
            Self::Installation(_) => Installation::TYPE,
            Self::Invite(_) => Invite::TYPE,
            Self::LegalHold(_) => LegalHold::TYPE,
            Self::PortalLink(_) => PortalLink::TYPE,
            Self::Sender(_) => Sender::TYPE,
            Self::Session(_) => Session::TYPE,
            Self::Tenant(_) => Tenant::TYPE,
            Self::User(_) => User::TYPE,
            Self::WebhookEvent(_) => WebhookEvent::TYPE,
        }
    }

    /// Returns the name of the fact, as it is stored and shown to auditors.
    #[must_use]
    pub fn event_type(&self) -> String {
        match self {
            Self::Access(fact) => fact.event_type(),
            Self::ApiKey(fact) => fact.event_type(),
            Self::BulkAction(fact) => fact.event_type(),
            Self::Reservation(fact) => fact.event_type(),
            Self::Destination(fact) => fact.event_type(),
            Self::Erasure(fact) => fact.event_type(),
            Self::Installation(fact) => fact.event_type(),
            Self::Invite(fact) => fact.event_type(),
            Self::LegalHold(fact) => fact.event_type(),
            Self::PortalLink(fact) => fact.event_type(),
            Self::Sender(fact) => fact.event_type(),
            Self::Session(fact) => fact.event_type(),
            Self::Tenant(fact) => fact.event_type(),
            Self::User(fact) => fact.event_type(),
            Self::WebhookEvent(fact) => fact.event_type(),
        }
    }

    /// Returns the JSON of the fact in its current form, as it is stored.
    ///
    /// # Errors
    ///
    /// If the fact cannot be written as JSON.
    pub fn to_json(&self) -> serde_json::Result<serde_json::Value> {
        match self {
            Self::Access(fact) => serde_json::to_value(fact),
            Self::ApiKey(fact) => serde_json::to_value(fact),
            Self::BulkAction(fact) => serde_json::to_value(fact),
            Self::Reservation(fact) => serde_json::to_value(fact),
            Self::Destination(fact) => serde_json::to_value(fact),
            Self::Erasure(fact) => serde_json::to_value(fact),
            Self::Installation(fact) => serde_json::to_value(fact),
            Self::Invite(fact) => serde_json::to_value(fact),
            Self::LegalHold(fact) => serde_json::to_value(fact),
            Self::PortalLink(fact) => serde_json::to_value(fact),
            Self::Sender(fact) => serde_json::to_value(fact),
            Self::Session(fact) => serde_json::to_value(fact),
            Self::Tenant(fact) => serde_json::to_value(fact),
            Self::User(fact) => serde_json::to_value(fact),
            Self::WebhookEvent(fact) => serde_json::to_value(fact),
        }
    }

    /// Reads a stored fact, in the current or any older version of its form.
    ///
    /// # Errors
    ///
    /// If the aggregate or the version is unknown, or the payload does not have the form of the fact.
    pub fn read(stored: StoredFact<'_>) -> Result<Self, UnreadableFact> {
        fn parse<A: Aggregate<Event: Facts>>(
            stored: StoredFact<'_>,
            wrap: fn(A::Event) -> Fact,
        ) -> Result<Fact, UnreadableFact> {
            let malformed = |source| UnreadableFact::Malformed { aggregate: A::TYPE, source };
            let newest = A::Event::version_of(stored.event_type);
            let fact = match upcasting::compare_version(stored.event_type, stored.event_version, newest) {
                StoredVersion::Current => serde_json::from_str(stored.payload),
                StoredVersion::Older(version) => serde_json::from_str(stored.payload).and_then(|mut form| {
                    upcasting::upcast(stored.event_type, version, &mut form);
                    serde_json::from_value(form)
                }),
                StoredVersion::Unknown => {
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
            LegalHold::TYPE => parse::<LegalHold>(stored, Self::LegalHold),
            PortalLink::TYPE => parse::<PortalLink>(stored, Self::PortalLink),
            ApiKey::TYPE => parse::<ApiKey>(stored, Self::ApiKey),
            Access::TYPE => parse::<Access>(stored, Self::Access),
            Reservation::TYPE => parse::<Reservation>(stored, Self::Reservation),
            BulkAction::TYPE => parse::<BulkAction>(stored, Self::BulkAction),
            Erasure::TYPE => parse::<Erasure>(stored, Self::Erasure),
            Installation::TYPE => parse::<Installation>(stored, Self::Installation),
            unknown => Err(UnreadableFact::UnknownAggregate(unknown.to_owned())),
        }
    }
}
