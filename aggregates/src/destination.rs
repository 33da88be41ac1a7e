//! Destination: where webhook events are delivered. It has a URL, a limit of concurrent requests, credentials and a
//! circuit breaker.
//!
//! The circuit breaker is part of the destination's status in the API. While it is open the destination is
//! `Suspended`: ingest is refused and deliveries wait. When its timer expires the breaker is half open and the
//! destination is probed: it is `Active` again, but with one attempt at a time, until a success closes the breaker
//! or a failure opens it again. The dispatcher counts failures and runs the timer; this aggregate decides which
//! transitions are valid.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Decide;
use crate::ids::TenantId;
use crate::sealed::TokenHash;
use crate::stored_enum;

pub use crate::outbound_auth::{AuthChange, AuthType, OutboundAuth};

/// Default of the limit of concurrent requests.
pub const CONCURRENCY_LIMIT_DEFAULT: u32 = 5;

/// State of a destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Destination {
    /// Never registered.
    #[default]
    Unknown,
    Registered(DestinationState),
}

/// State of a registered destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestinationState {
    pub tenant_id: TenantId,
    /// As the user entered it.
    pub url: String,
    pub concurrency_limit: u32,
    /// `None`: requests carry no credentials.
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

/// Command to a destination.
#[derive(Clone, Debug)]
pub enum DestinationCommand {
    /// Registers the destination. Repeated: refused.
    Register {
        tenant_id: TenantId,
        /// Checked.
        url: String,
        /// At least 1.
        concurrency_limit: u32,
        /// `None`: requests carry no credentials.
        auth: Option<OutboundAuth>,
        ingest_token_hash: TokenHash,
        at: DateTime<Utc>,
    },
    /// Changes the settings that are present, all or none. Current values are ignored. Credentials always count as
    /// changed, since they are encrypted and cannot be compared.
    Change {
        /// Checked.
        url: Option<String>,
        /// At least 1.
        concurrency_limit: Option<u32>,
        /// True activates the destination and closes the circuit breaker, false deactivates it.
        active: Option<bool>,
        auth: AuthChange,
        at: DateTime<Utc>,
    },
    /// Replaces the ingest token. Repeated: replaced again.
    RegenerateIngestToken { ingest_token_hash: TokenHash, at: DateTime<Utc> },
    /// Opens the circuit breaker. While suspended or inactive: ignored.
    Suspend {
        consecutive_failures: u32,
        /// Time that the circuit breaker stays open, in seconds.
        timer_seconds: u32,
        at: DateTime<Utc>,
    },
    /// Half-opens the circuit breaker. Unless suspended: ignored.
    Probe { at: DateTime<Utc> },
    /// Closes the circuit breaker after a success. Unless suspended or probing: ignored.
    Resume { at: DateTime<Utc> },
}

/// Fact about a destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum DestinationFact {
    /// The destination was registered and is active.
    DestinationRegistered {
        tenant_id: TenantId,
        url: String,
        concurrency_limit: u32,
        ingest_token_hash: TokenHash,
        at: DateTime<Utc>,
    },
    DestinationUrlChanged {
        url: String,
        at: DateTime<Utc>,
    },
    ConcurrencyLimitChanged {
        concurrency_limit: u32,
        at: DateTime<Utc>,
    },
    OutboundAuthConfigured {
        auth: OutboundAuth,
        at: DateTime<Utc>,
    },
    /// Requests carry no credentials from now on.
    OutboundAuthRemoved {
        at: DateTime<Utc>,
    },
    /// A user activated the destination; the circuit breaker is closed.
    DestinationActivated {
        at: DateTime<Utc>,
    },
    /// A user deactivated the destination; the circuit breaker is reset.
    DestinationDeactivated {
        at: DateTime<Utc>,
    },
    /// The circuit breaker opened.
    DestinationSuspended {
        consecutive_failures: u32,
        /// Time at which the destination will be probed.
        next_check_at: DateTime<Utc>,
        at: DateTime<Utc>,
    },
    /// The circuit breaker is half open: one attempt at a time.
    DestinationProbed {
        at: DateTime<Utc>,
    },
    /// A success closed the circuit breaker.
    DestinationResumed {
        at: DateTime<Utc>,
    },
    /// The ingest token was replaced; the previous one is no longer accepted.
    IngestTokenRegenerated {
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

impl DestinationFact {
    /// Names of the facts that [void jobs](Self::voids_jobs).
    pub const VOIDING_JOBS: [&'static str; 6] = [
        "DestinationActivated",
        "DestinationDeactivated",
        "DestinationSuspended",
        "DestinationProbed",
        "DestinationResumed",
        "ConcurrencyLimitChanged",
    ];

    /// Whether jobs that were released before this fact are void: the destination entered another stage or got
    /// another limit.
    #[must_use]
    pub fn voids_jobs(&self) -> bool {
        match self {
            Self::DestinationActivated { .. }
            | Self::DestinationDeactivated { .. }
            | Self::DestinationSuspended { .. }
            | Self::DestinationProbed { .. }
            | Self::DestinationResumed { .. }
            | Self::ConcurrencyLimitChanged { .. } => true,
            Self::DestinationRegistered { .. }
            | Self::DestinationUrlChanged { .. }
            | Self::OutboundAuthConfigured { .. }
            | Self::OutboundAuthRemoved { .. }
            | Self::IngestTokenRegenerated { .. } => false,
        }
    }
}

/// Reason why a destination refuses a command.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DestinationRefusal {
    #[error("the destination is already registered")]
    AlreadyRegistered,
    #[error("no destination has this id")]
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
            (Self::Registered(destination), command) => Ok(destination.decide(command)),
        }
    }
}

impl Stage {
    /// Decides a command of the circuit breaker, which depends on the stage alone; `None` for any other command.
    pub(crate) fn decide(self, command: DestinationCommand) -> Option<DestinationFact> {
        use DestinationCommand as Command;
        match (command, self) {
            (Command::Suspend { consecutive_failures, timer_seconds, at }, Self::Active | Self::Probing) => {
                let next_check_at = at + TimeDelta::seconds(i64::from(timer_seconds));
                Some(DestinationFact::DestinationSuspended { consecutive_failures, next_check_at, at })
            }
            (Command::Probe { at }, Self::Suspended) => Some(DestinationFact::DestinationProbed { at }),
            (Command::Resume { at }, Self::Suspended | Self::Probing) => {
                Some(DestinationFact::DestinationResumed { at })
            }
            _ => None,
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
            (command, stage) => stage.decide(command).into_iter().collect(),
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
            (Self::Registered(destination), fact) => destination.fold(fact),
        }
    }
}
