//! Access: who was shown what is confidential, such as a payload or a secret. Reading changes nothing else, so it has
//! streams of its own.
//!
//! Of the same reader and the same thing one access is recorded within an hour of the clock: programs that read again and
//! again must not fill the log. Each export is recorded.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::Decide;
use crate::ids::{DestinationId, PortalLinkId, UserId, WebhookEventId};

/// Namespace of the ids of streams of readers. It must not change: stored ids depend on it.
const NAMESPACE: Uuid = Uuid::from_u128(0x3b1f_6c0d_92ae_5e47_b6d8_14f0_7a25_c9e3);
const SECONDS_OF_HOUR: i64 = 3_600;

/// State of one stream of accesses: those of its last hour.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Hours since the epoch.
    hour: i64,
    recorded: Vec<(Reader, Accessed)>,
}

/// Who was shown it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reader {
    User(UserId),
    /// The holder of a portal link.
    PortalLink(PortalLinkId),
}

/// What was shown.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Accessed {
    /// The payload of one webhook event.
    Payload,
    /// Payloads in a list of webhook events.
    Payloads {
        /// `None`: of all destinations.
        destination_id: Option<DestinationId>,
    },
    /// The webhook secret of the tenant.
    WebhookSecret,
    /// The audit trail, as an export.
    AuditTrail {
        format: String,
        /// What the export was restricted to; empty: to nothing.
        filter: String,
    },
}

/// Records an access. If it was recorded within the same hour: ignored, unless it is an export.
#[derive(Clone, Debug)]
pub struct AccessCommand {
    pub reader: Reader,
    pub accessed: Accessed,
    pub at: DateTime<Utc>,
}

/// Fact about an access.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum AccessFact {
    /// The id of the stream is that of the webhook event.
    PayloadRead {
        user_id: UserId,
        at: DateTime<Utc>,
    },
    PayloadsListed {
        user_id: UserId,
        /// `None`: of all destinations.
        destination_id: Option<DestinationId>,
        at: DateTime<Utc>,
    },
    /// The id of the stream is that of the webhook event.
    PortalPayloadRead {
        portal_link_id: PortalLinkId,
        at: DateTime<Utc>,
    },
    PortalPayloadsListed {
        portal_link_id: PortalLinkId,
        destination_id: DestinationId,
        at: DateTime<Utc>,
    },
    WebhookSecretRead {
        user_id: UserId,
        at: DateTime<Utc>,
    },
    /// Recorded before the first byte was sent.
    AuditExported {
        user_id: UserId,
        format: String,
        /// What the export was restricted to; empty: to nothing.
        filter: String,
        at: DateTime<Utc>,
    },
}

stored_facts!(AccessFact {
    PayloadRead,
    PayloadsListed,
    PortalPayloadRead,
    PortalPayloadsListed,
    WebhookSecretRead,
    AuditExported,
});

/// Reason why an access is not recorded, and must not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AccessRefusal {
    #[error("a portal link shows the payloads of one destination only")]
    NotForPortalLinks,
}

aggregate!(Access, AccessCommand, AccessFact, AccessRefusal);

impl Decide for Access {
    fn decide(&self, command: AccessCommand) -> Result<Vec<AccessFact>, AccessRefusal> {
        let AccessCommand { reader, accessed, at } = command;
        let is_recorded = self.hour == hour(at) && self.recorded.contains(&(reader, accessed.clone()));
        let fact = match (reader, accessed) {
            (Reader::User(user_id), Accessed::AuditTrail { format, filter }) => {
                AccessFact::AuditExported { user_id, format, filter, at }
            }
            _ if is_recorded => return Ok(vec![]),
            (Reader::User(user_id), Accessed::Payload) => AccessFact::PayloadRead { user_id, at },
            (Reader::User(user_id), Accessed::Payloads { destination_id }) => {
                AccessFact::PayloadsListed { user_id, destination_id, at }
            }
            (Reader::User(user_id), Accessed::WebhookSecret) => AccessFact::WebhookSecretRead { user_id, at },
            (Reader::PortalLink(portal_link_id), Accessed::Payload) => {
                AccessFact::PortalPayloadRead { portal_link_id, at }
            }
            (
                Reader::PortalLink(portal_link_id),
                Accessed::Payloads { destination_id: Some(destination_id) },
            ) => AccessFact::PortalPayloadsListed { portal_link_id, destination_id, at },
            (Reader::PortalLink(_), _) => return Err(AccessRefusal::NotForPortalLinks),
        };
        Ok(vec![fact])
    }
}

impl Access {
    /// Returns the id of the stream of accesses to the payload of an event.
    #[must_use]
    pub fn of_event(event: WebhookEventId) -> Uuid {
        event.0
    }

    /// Returns the id of the stream of a reader's accesses of a day to what belongs to the tenant as a whole. It stays
    /// short, and no other reader appends to it.
    #[must_use]
    pub fn of_reader(reader: Reader, day: DateTime<Utc>) -> Uuid {
        let id = match reader {
            Reader::User(id) => id.0,
            Reader::PortalLink(id) => id.0,
        };
        Uuid::new_v5(&NAMESPACE, format!("{id}/{}", day.format("%Y-%m-%d")).as_bytes())
    }

    fn fold(&mut self, fact: AccessFact) {
        let (reader, accessed, at) = match fact {
            AccessFact::PayloadRead { user_id, at } => (Reader::User(user_id), Accessed::Payload, at),
            AccessFact::PayloadsListed { user_id, destination_id, at } => {
                (Reader::User(user_id), Accessed::Payloads { destination_id }, at)
            }
            AccessFact::PortalPayloadRead { portal_link_id, at } => {
                (Reader::PortalLink(portal_link_id), Accessed::Payload, at)
            }
            AccessFact::PortalPayloadsListed { portal_link_id, destination_id, at } => {
                let destination_id = Some(destination_id);
                (Reader::PortalLink(portal_link_id), Accessed::Payloads { destination_id }, at)
            }
            AccessFact::WebhookSecretRead { user_id, at } => {
                (Reader::User(user_id), Accessed::WebhookSecret, at)
            }
            AccessFact::AuditExported { .. } => return,
        };
        let hour = hour(at);
        if self.hour != hour {
            *self = Self { hour, recorded: vec![] };
        }
        self.recorded.push((reader, accessed));
    }
}

/// Returns the hour of a time, since the epoch.
#[must_use]
pub fn hour(time: DateTime<Utc>) -> i64 {
    time.timestamp().div_euclid(SECONDS_OF_HOUR)
}
