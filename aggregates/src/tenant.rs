//! Tenant: one account on the platform, with its name, owners, retry policy, retention and signing secret. It is
//! registered once and never deleted.
//!
//! The owners are kept here as well as with the users, because "a tenant always has an owner" is a rule over several
//! users. If two owners dismiss each other at the same time, both commands append to this stream and one of them is
//! refused.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use thiserror::Error;

use crate::Decide;
use crate::ids::UserId;
use crate::sealed::{Fingerprint, Sealed};

/// Default of [`Resilience::max_attempts`].
pub const MAX_ATTEMPTS_DEFAULT: u32 = 10;
/// Default of [`Resilience::circuit_breaker_timer`].
pub const CIRCUIT_BREAKER_TIMER_SECONDS_DEFAULT: u32 = 300;

/// Maximum of both periods of [`Retention`], in days: a hundred years.
pub const RETENTION_DAYS_MAX: u32 = 36_500;

/// State of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tenant {
    /// Never registered.
    #[default]
    Unknown,
    Registered(TenantState),
}

/// State of a registered tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantState {
    /// Unique on the platform.
    pub name: String,
    pub resilience: Resilience,
    pub retention: Retention,
    /// Owners who may log in; never empty. An owner who is deactivated, deleted or given another role is dismissed in
    /// the same append, and appointed again when activated or made owner again.
    pub owners: BTreeSet<UserId>,
    /// The secret that signs webhooks.
    pub webhook_secret: WebhookSecret,
    /// Whether the operator of the installation has suspended it: it may do nothing, and nothing is delivered for it.
    pub is_suspended: bool,
}

/// Retry policy of deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resilience {
    /// Maximum number of attempts, the first one included; at least 1.
    pub max_attempts: u32,
    /// Time that a destination's circuit breaker stays open, in seconds; at least 1.
    pub circuit_breaker_timer: u32,
}

impl Default for Resilience {
    fn default() -> Self {
        Self {
            max_attempts: MAX_ATTEMPTS_DEFAULT,
            circuit_breaker_timer: CIRCUIT_BREAKER_TIMER_SECONDS_DEFAULT,
        }
    }
}

/// Retention of webhook events whose delivery has ended, in days from their acceptance. An event whose delivery ends
/// later is removed when it ends; one in delivery is never removed. The log keeps every fact permanently.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retention {
    /// Days after which payloads are erased; at least 1. `None`: never.
    pub payload_days: Option<u32>,
    /// Days after which events are removed from the lists, with their payloads; at least 1. `None`: never.
    pub event_days: Option<u32>,
}

impl Retention {
    /// Returns the days after which payloads are erased, at the latest together with their events; `None`: never.
    #[must_use]
    pub fn payload_days_at_most(self) -> Option<u32> {
        self.payload_days.into_iter().chain(self.event_days).min()
    }
}

/// Signing secret, as facts carry it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookSecret {
    pub sealed: Sealed,
    pub fingerprint: Fingerprint,
}

/// Command to a tenant.
#[derive(Clone, Debug)]
pub enum TenantCommand {
    /// Registers the tenant with its first owner. Repeated: refused.
    Register {
        /// Checked, and reserved in the same append.
        name: String,
        owner: UserId,
        resilience: Resilience,
        retention: Retention,
        webhook_secret: WebhookSecret,
        at: DateTime<Utc>,
    },
    /// Changes the name. To the current name: ignored.
    Rename {
        /// Checked, and reserved in the same append.
        name: String,
        at: DateTime<Utc>,
    },
    /// Changes the retry policy. To the current one: ignored.
    ChangeResilience { resilience: Resilience, at: DateTime<Utc> },
    /// Changes the retention. To the current one: ignored.
    ChangeRetention { retention: Retention, at: DateTime<Utc> },
    /// Replaces the signing secret. Repeated: replaced again.
    RegenerateWebhookSecret {
        webhook_secret: WebhookSecret,
        /// Time until which the previous secret signs as well; `None`: it stops signing at once.
        previous_signs_until: Option<DateTime<Utc>>,
        at: DateTime<Utc>,
    },
    /// Makes a user an owner. Repeated: ignored.
    AppointOwner { user_id: UserId, at: DateTime<Utc> },
    /// Revokes ownership. For a user who is no owner: ignored. For the last owner: refused.
    DismissOwner { user_id: UserId, at: DateTime<Utc> },
    /// Suspends the tenant. While suspended: ignored.
    Suspend {
        /// Checked.
        reason: String,
        at: DateTime<Utc>,
    },
    /// Resumes the tenant. Unless suspended: ignored.
    Resume { at: DateTime<Utc> },
}

/// Fact about a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum TenantFact {
    TenantRegistered {
        name: String,
        owner: UserId,
        resilience: Resilience,
        retention: Retention,
        webhook_secret: WebhookSecret,
        at: DateTime<Utc>,
    },
    TenantRenamed {
        name: String,
        at: DateTime<Utc>,
    },
    ResilienceChanged {
        resilience: Resilience,
        at: DateTime<Utc>,
    },
    /// Payloads and events that were removed before do not return.
    RetentionChanged {
        retention: Retention,
        at: DateTime<Utc>,
    },
    WebhookSecretRegenerated {
        webhook_secret: WebhookSecret,
        /// Time until which the previous secret signs as well; `None`: it stopped signing at once.
        previous_signs_until: Option<DateTime<Utc>>,
        at: DateTime<Utc>,
    },
    OwnerAppointed {
        user_id: UserId,
        at: DateTime<Utc>,
    },
    OwnerDismissed {
        user_id: UserId,
        at: DateTime<Utc>,
    },
    /// The operator suspended the tenant: its webhooks and logins are refused, and its deliveries wait.
    TenantSuspended {
        reason: String,
        at: DateTime<Utc>,
    },
    TenantResumed {
        at: DateTime<Utc>,
    },
}

impl TenantFact {
    /// Names of the facts that suspend and resume a tenant, for readers that omit the others.
    pub const OF_SUSPENSION: [&'static str; 2] = ["TenantSuspended", "TenantResumed"];
}

stored_facts!(TenantFact {
    TenantRegistered: 2,
    TenantRenamed,
    ResilienceChanged,
    RetentionChanged,
    WebhookSecretRegenerated,
    OwnerAppointed,
    OwnerDismissed,
    TenantSuspended,
    TenantResumed,
});

/// Reason why a tenant refuses a command.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TenantRefusal {
    #[error("the tenant is already registered")]
    AlreadyRegistered,
    #[error("no tenant has this id")]
    NotRegistered,
    #[error("a tenant must keep at least one active Owner")]
    LastOwner,
}

aggregate!(Tenant, TenantCommand, TenantFact, TenantRefusal);

impl Decide for Tenant {
    fn decide(&self, command: TenantCommand) -> Result<Vec<TenantFact>, TenantRefusal> {
        use TenantCommand as Command;
        let tenant = match (self, command) {
            (Self::Unknown, Command::Register { name, owner, resilience, retention, webhook_secret, at }) => {
                return Ok(vec![TenantFact::TenantRegistered {
                    name,
                    owner,
                    resilience,
                    retention,
                    webhook_secret,
                    at,
                }]);
            }
            (Self::Unknown, _) => return Err(TenantRefusal::NotRegistered),
            (Self::Registered(tenant), command) => (tenant, command),
        };
        Ok(match tenant {
            (_, Command::Register { .. }) => return Err(TenantRefusal::AlreadyRegistered),
            (tenant, Command::Rename { name, .. }) if name == tenant.name => vec![],
            (_, Command::Rename { name, at }) => vec![TenantFact::TenantRenamed { name, at }],
            (tenant, Command::ChangeResilience { resilience, .. }) if resilience == tenant.resilience => {
                vec![]
            }
            (_, Command::ChangeResilience { resilience, at }) => {
                vec![TenantFact::ResilienceChanged { resilience, at }]
            }
            (tenant, Command::ChangeRetention { retention, .. }) if retention == tenant.retention => {
                vec![]
            }
            (_, Command::ChangeRetention { retention, at }) => {
                vec![TenantFact::RetentionChanged { retention, at }]
            }
            (_, Command::RegenerateWebhookSecret { webhook_secret, previous_signs_until, at }) => {
                vec![TenantFact::WebhookSecretRegenerated { webhook_secret, previous_signs_until, at }]
            }
            (tenant, Command::AppointOwner { user_id, .. }) if tenant.owners.contains(&user_id) => vec![],
            (_, Command::AppointOwner { user_id, at }) => vec![TenantFact::OwnerAppointed { user_id, at }],
            (tenant, Command::DismissOwner { user_id, at }) => {
                match (tenant.owners.contains(&user_id), tenant.owners.len()) {
                    (false, _) => vec![],
                    (true, 1) => return Err(TenantRefusal::LastOwner),
                    (true, _) => vec![TenantFact::OwnerDismissed { user_id, at }],
                }
            }
            (tenant, Command::Suspend { .. }) if tenant.is_suspended => vec![],
            (_, Command::Suspend { reason, at }) => vec![TenantFact::TenantSuspended { reason, at }],
            (tenant, Command::Resume { .. }) if !tenant.is_suspended => vec![],
            (_, Command::Resume { at }) => vec![TenantFact::TenantResumed { at }],
        })
    }
}

impl Tenant {
    fn fold(&mut self, fact: TenantFact) {
        match (&mut *self, fact) {
            (_, TenantFact::TenantRegistered { name, owner, resilience, retention, webhook_secret, .. }) => {
                *self = Self::Registered(TenantState {
                    name,
                    resilience,
                    retention,
                    owners: BTreeSet::from([owner]),
                    webhook_secret,
                    is_suspended: false,
                });
            }
            (Self::Unknown, _) => {}
            (Self::Registered(tenant), fact) => tenant.fold(fact),
        }
    }
}

impl TenantState {
    fn fold(&mut self, fact: TenantFact) {
        match fact {
            TenantFact::TenantRegistered { .. } => {}
            TenantFact::TenantRenamed { name, .. } => self.name = name,
            TenantFact::ResilienceChanged { resilience, .. } => self.resilience = resilience,
            TenantFact::RetentionChanged { retention, .. } => self.retention = retention,
            TenantFact::WebhookSecretRegenerated { webhook_secret, .. } => {
                self.webhook_secret = webhook_secret;
            }
            TenantFact::OwnerAppointed { user_id, .. } => {
                self.owners.insert(user_id);
            }
            TenantFact::OwnerDismissed { user_id, .. } => {
                self.owners.remove(&user_id);
            }
            TenantFact::TenantSuspended { .. } => self.is_suspended = true,
            TenantFact::TenantResumed { .. } => self.is_suspended = false,
        }
    }
}
