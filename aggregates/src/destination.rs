//! A destination is where webhook events are delivered: a URL, a limit on concurrent requests,
//! credentials, and a circuit breaker.
//!
//! The breaker is part of the destination's status, as callers see it. `Suspended` is the open breaker:
//! ingest is refused and deliveries wait. Once its time is over the destination is probed: it is
//! `Active` again, but one attempt at a time, until a success closes the breaker or a failure opens it
//! anew. The dispatcher counts failures and keeps the time; here it is decided what follows.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Decide;
use crate::ids::TenantId;
use crate::sealed::TokenHash;
use crate::stored_enum;

pub use crate::outbound_auth::{AuthChange, AuthType, OutboundAuth};

/// Concurrent requests to a destination, unless it says otherwise.
pub const CONCURRENCY_LIMIT_DEFAULT: u32 = 5;

/// The life of a destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Destination {
    /// Never registered.
    #[default]
    Unknown,
    /// Registered.
    Registered(DestinationState),
}

/// What a registered destination knows of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestinationState {
    /// Whose destination it is.
    pub tenant_id: TenantId,
    /// Where requests go, as given.
    pub url: String,
    pub concurrency_limit: u32,
    /// How requests prove themselves, with sealed credentials.
    pub auth: Option<OutboundAuth>,
    pub stage: Stage,
}

stored_enum! {
    /// Whether a destination receives requests.
    pub enum Stage {
        /// Receives; the circuit breaker is closed.
        Active = 0 => "Active",
        /// Does not receive until a user activates it.
        Inactive = 1 => "Inactive",
        /// Does not receive until the circuit breaker's timer expires; the breaker is open.
        Suspended = 2 => "Suspended",
        /// Receives one attempt at a time; the circuit breaker is half open.
        Probing = 3 => "Probing",
    }
}

impl Stage {
    /// The status callers see.
    #[must_use]
    pub fn status(self) -> &'static str {
        match self {
            Self::Active | Self::Probing => "Active",
            Self::Suspended => "Suspended",
            Self::Inactive => "Inactive",
        }
    }
}

/// What can be asked of a destination.
#[derive(Clone, Debug)]
pub enum DestinationCommand {
    /// Register it. Repeated: refused.
    Register {
        /// Whose destination it is.
        tenant_id: TenantId,
        /// Where requests go, checked.
        url: String,
        /// Most concurrent requests; at least 1.
        concurrency_limit: u32,
        /// How requests prove themselves.
        auth: Option<OutboundAuth>,
        /// Hash of its ingest token.
        ingest_token_hash: TokenHash,
        at: DateTime<Utc>,
    },
    /// Change some of it, all or nothing. What stays the same is ignored; credentials sealed anew are not
    /// the same, because nobody here can look into them.
    Change {
        /// The new URL, checked.
        url: Option<String>,
        /// The new limit; at least 1.
        concurrency_limit: Option<u32>,
        /// Whether it shall receive.
        active: Option<bool>,
        auth: AuthChange,
        at: DateTime<Utc>,
    },
    /// Give it a new ingest token; the old one is dead. Repeated: a newer token.
    RegenerateIngestToken {
        /// Hash of the new token.
        ingest_token_hash: TokenHash,
        at: DateTime<Utc>,
    },
    /// Open the breaker. While suspended or inactive: ignored.
    Suspend {
        /// Failed attempts in a row.
        consecutive_failures: u32,
        /// How long the breaker stays open, in seconds.
        timer_seconds: u32,
        at: DateTime<Utc>,
    },
    /// Half open the breaker. Unless suspended: ignored.
    Probe { at: DateTime<Utc> },
    /// Close the breaker after a success. Unless suspended or probing: ignored.
    Resume { at: DateTime<Utc> },
}

/// What happened to a destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum DestinationFact {
    /// It exists and receives.
    DestinationRegistered {
        /// Whose destination it is.
        tenant_id: TenantId,
        url: String,
        concurrency_limit: u32,
        /// Hash of its ingest token.
        ingest_token_hash: TokenHash,
        at: DateTime<Utc>,
    },
    /// Requests go elsewhere.
    DestinationUrlChanged { url: String, at: DateTime<Utc> },
    /// Another number of requests may be in flight.
    ConcurrencyLimitChanged { concurrency_limit: u32, at: DateTime<Utc> },
    /// Requests prove themselves with these credentials.
    OutboundAuthConfigured {
        /// How and with what.
        auth: OutboundAuth,
        at: DateTime<Utc>,
    },
    /// Requests prove nothing any more.
    OutboundAuthRemoved { at: DateTime<Utc> },
    /// Somebody switched it on; the breaker is closed.
    DestinationActivated { at: DateTime<Utc> },
    /// Somebody switched it off; the breaker is reset.
    DestinationDeactivated { at: DateTime<Utc> },
    /// The breaker opened.
    DestinationSuspended {
        /// Failed attempts in a row.
        consecutive_failures: u32,
        /// When it will be probed.
        next_check_at: DateTime<Utc>,
        at: DateTime<Utc>,
    },
    /// The breaker is half open: one attempt at a time.
    DestinationProbed { at: DateTime<Utc> },
    /// A success closed the breaker.
    DestinationResumed { at: DateTime<Utc> },
    /// The old ingest token is dead, a new one lives.
    IngestTokenRegenerated {
        /// Hash of the new token.
        ingest_token_hash: TokenHash,
        at: DateTime<Utc>,
    },
}

stored_facts!(DestinationFact {
    DestinationRegistered,
    DestinationUrlChanged,
    ConcurrencyLimitChanged,
    OutboundAuthConfigured,
    OutboundAuthRemoved,
    DestinationActivated,
    DestinationDeactivated,
    DestinationSuspended,
    DestinationProbed,
    DestinationResumed,
    IngestTokenRegenerated,
});

/// Why a destination does not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DestinationRefusal {
    /// It exists already.
    #[error("the destination was registered before")]
    AlreadyRegistered,
    /// It does not exist.
    #[error("there is no destination of this id")]
    NotRegistered,
}

aggregate!(Destination, DestinationCommand, DestinationFact, DestinationRefusal);

impl Decide for Destination {
    fn decide(&self, command: DestinationCommand) -> Result<Vec<DestinationFact>, DestinationRefusal> {
        use DestinationCommand as Command;
        match (self, command) {
            (
                Self::Unknown,
                Command::Register { tenant_id, url, concurrency_limit, auth, ingest_token_hash, at },
            ) => {
                let registered = DestinationFact::DestinationRegistered {
                    tenant_id,
                    url,
                    concurrency_limit,
                    ingest_token_hash,
                    at,
                };
                let auth = auth.map(|auth| DestinationFact::OutboundAuthConfigured { auth, at });
                Ok(std::iter::once(registered).chain(auth).collect())
            }
            (Self::Unknown, _) => Err(DestinationRefusal::NotRegistered),
            (Self::Registered(_), Command::Register { .. }) => Err(DestinationRefusal::AlreadyRegistered),
            (Self::Registered(endpoint), command) => Ok(endpoint.decide(command)),
        }
    }
}

impl DestinationState {
    fn decide(&self, command: DestinationCommand) -> Vec<DestinationFact> {
        use DestinationCommand as Command;
        match (command, self.stage) {
            (Command::Register { .. }, _) => vec![],
            (Command::Change { url, concurrency_limit, active, auth, at }, _) => {
                let url = url.filter(|url| *url != self.url);
                let limit = concurrency_limit.filter(|limit| *limit != self.concurrency_limit);
                let stage = match (active, self.stage) {
                    (Some(true), Stage::Inactive | Stage::Suspended | Stage::Probing) => {
                        Some(DestinationFact::DestinationActivated { at })
                    }
                    (Some(false), Stage::Active | Stage::Suspended | Stage::Probing) => {
                        Some(DestinationFact::DestinationDeactivated { at })
                    }
                    _ => None,
                };
                let auth = match auth {
                    AuthChange::Remove if self.auth.is_some() => {
                        Some(DestinationFact::OutboundAuthRemoved { at })
                    }
                    AuthChange::Configure(auth) if self.auth.as_ref() != Some(&auth) => {
                        Some(DestinationFact::OutboundAuthConfigured { auth, at })
                    }
                    AuthChange::Keep | AuthChange::Remove | AuthChange::Configure(_) => None,
                };
                url.map(|url| DestinationFact::DestinationUrlChanged { url, at })
                    .into_iter()
                    .chain(limit.map(|concurrency_limit| DestinationFact::ConcurrencyLimitChanged {
                        concurrency_limit,
                        at,
                    }))
                    .chain(auth)
                    .chain(stage)
                    .collect()
            }
            (Command::RegenerateIngestToken { ingest_token_hash, at }, _) => {
                vec![DestinationFact::IngestTokenRegenerated { ingest_token_hash, at }]
            }
            (
                Command::Suspend { consecutive_failures, timer_seconds, at },
                Stage::Active | Stage::Probing,
            ) => {
                let next_check_at = at + TimeDelta::seconds(i64::from(timer_seconds));
                vec![DestinationFact::DestinationSuspended { consecutive_failures, next_check_at, at }]
            }
            (Command::Probe { at }, Stage::Suspended) => vec![DestinationFact::DestinationProbed { at }],
            (Command::Resume { at }, Stage::Suspended | Stage::Probing) => {
                vec![DestinationFact::DestinationResumed { at }]
            }
            (Command::Suspend { .. } | Command::Probe { .. } | Command::Resume { .. }, _) => vec![],
        }
    }

    fn fold(&mut self, fact: DestinationFact) {
        use DestinationFact as Fact;
        match fact {
            Fact::DestinationUrlChanged { url, .. } => self.url = url,
            Fact::ConcurrencyLimitChanged { concurrency_limit, .. } => {
                self.concurrency_limit = concurrency_limit;
            }
            Fact::OutboundAuthConfigured { auth, .. } => self.auth = Some(auth),
            Fact::OutboundAuthRemoved { .. } => self.auth = None,
            Fact::DestinationActivated { .. } | Fact::DestinationResumed { .. } => self.stage = Stage::Active,
            Fact::DestinationDeactivated { .. } => self.stage = Stage::Inactive,
            Fact::DestinationSuspended { .. } => self.stage = Stage::Suspended,
            Fact::DestinationProbed { .. } => self.stage = Stage::Probing,
            Fact::DestinationRegistered { .. } | Fact::IngestTokenRegenerated { .. } => {}
        }
    }
}

impl Destination {
    fn fold(&mut self, fact: DestinationFact) {
        match (&mut *self, fact) {
            (_, DestinationFact::DestinationRegistered { tenant_id, url, concurrency_limit, .. }) => {
                *self = Self::Registered(DestinationState {
                    tenant_id,
                    url,
                    concurrency_limit,
                    auth: None,
                    stage: Stage::Active,
                });
            }
            (Self::Unknown, _) => {}
            (Self::Registered(endpoint), fact) => endpoint.fold(fact),
        }
    }
}
