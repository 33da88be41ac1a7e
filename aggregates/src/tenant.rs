//! A tenant is one account: its name, its owners, how stubbornly it retries, how long it keeps what was
//! delivered, and the secret that signs its webhooks. It is registered once and never deleted.
//!
//! The owners are kept here, and not only with the users, because "a tenant always has an owner" is a
//! rule over several users: two owners who dismiss each other at the same moment meet in this stream.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use thiserror::Error;

use crate::Decide;
use crate::ids::UserId;
use crate::sealed::{Fingerprint, Sealed};

/// Attempts in all before a delivery is given up, unless the tenant says otherwise.
pub const MAX_ATTEMPTS_DEFAULT: u32 = 10;
/// Seconds a breaker stays open, unless the tenant says otherwise.
pub const CIRCUIT_BREAKER_TIMER_SECONDS_DEFAULT: u32 = 300;

/// The longest time that what has ended can be kept, short of for ever: a hundred years.
pub const RETENTION_DAYS_MAX: u32 = 36_500;

/// The life of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tenant {
    /// Never registered.
    #[default]
    Unknown,
    /// Registered.
    Registered(Account),
}

/// What a registered tenant knows of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its name, unique on the platform.
    pub name: String,
    pub resilience: Resilience,
    /// How long it keeps what has ended.
    pub retention: Retention,
    /// Its owners who may log in; never empty. An owner who is given another role, deactivated or
    /// deleted is dismissed in the same append, and appointed anew with the role or the activation.
    pub owners: BTreeSet<UserId>,
    /// The secret that signs its webhooks.
    pub webhook_secret: WebhookSecret,
}

/// How stubbornly deliveries are retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resilience {
    /// Attempts in all; at least 1.
    pub max_attempts: u32,
    /// Seconds a destination's breaker stays open; at least 1.
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

/// How long webhook events that have ended are kept, counted from their acceptance. An event that ends
/// later goes when it ends; one that is still on its way never does. The log keeps every fact for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retention {
    /// Days after which payloads are erased; `None`: never.
    pub payload_days: Option<u32>,
    /// Days after which events leave the lists, and their payloads with them; `None`: never.
    pub event_days: Option<u32>,
}

impl Retention {
    /// Days after which payloads are erased: at the latest when their events leave the lists.
    #[must_use]
    pub fn payload_days_at_most(self) -> Option<u32> {
        self.payload_days.into_iter().chain(self.event_days).min()
    }
}

/// A signing secret as a fact carries it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookSecret {
    pub sealed: Sealed,
    /// What tells it apart from others.
    pub fingerprint: Fingerprint,
}

/// What can be asked of a tenant.
#[derive(Clone, Debug)]
pub enum TenantCommand {
    /// Register it with its first owner. Repeated: refused.
    Register {
        /// Its name, checked and claimed.
        name: String,
        owner: UserId,
        resilience: Resilience,
        /// How long it keeps what has ended.
        retention: Retention,
        /// The secret that signs its webhooks.
        webhook_secret: WebhookSecret,
        at: DateTime<Utc>,
    },
    /// Change its name. To its own name: ignored.
    Rename {
        /// The new name, checked and claimed.
        name: String,
        at: DateTime<Utc>,
    },
    /// Change how it retries. To what it is: ignored.
    ChangeResilience { resilience: Resilience, at: DateTime<Utc> },
    /// Change how long it keeps what has ended. To what it is: ignored.
    ChangeRetention { retention: Retention, at: DateTime<Utc> },
    /// Replace the signing secret. Repeated: a newer secret.
    RegenerateWebhookSecret {
        webhook_secret: WebhookSecret,
        /// Until when the old secret signs too; `None`: it is dead at once.
        previous_signs_until: Option<DateTime<Utc>>,
        at: DateTime<Utc>,
    },
    /// Make a user an owner. Repeated: ignored.
    AppointOwner { user_id: UserId, at: DateTime<Utc> },
    /// Let an owner be one no more. Not an owner: ignored. The last owner: refused.
    DismissOwner { user_id: UserId, at: DateTime<Utc> },
}

/// What happened to a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum TenantFact {
    /// The account exists.
    TenantRegistered {
        name: String,
        owner: UserId,
        resilience: Resilience,
        /// How long it keeps what has ended.
        retention: Retention,
        /// The secret that signs its webhooks.
        webhook_secret: WebhookSecret,
        at: DateTime<Utc>,
    },
    /// It has another name.
    TenantRenamed { name: String, at: DateTime<Utc> },
    /// It retries differently.
    ResilienceChanged { resilience: Resilience, at: DateTime<Utc> },
    /// It keeps what has ended for another time. What was erased or removed before does not come back.
    RetentionChanged { retention: Retention, at: DateTime<Utc> },
    /// Its webhooks are signed with another secret.
    WebhookSecretRegenerated {
        webhook_secret: WebhookSecret,
        /// Until when the old secret signs too.
        previous_signs_until: Option<DateTime<Utc>>,
        at: DateTime<Utc>,
    },
    /// A user became an owner.
    OwnerAppointed { user_id: UserId, at: DateTime<Utc> },
    /// An owner is one no more.
    OwnerDismissed { user_id: UserId, at: DateTime<Utc> },
}

stored_facts!(TenantFact {
    TenantRegistered: 2,
    TenantRenamed,
    ResilienceChanged,
    RetentionChanged,
    WebhookSecretRegenerated,
    OwnerAppointed,
    OwnerDismissed,
});

/// Why a tenant does not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TenantRefusal {
    /// It exists already.
    #[error("the tenant was registered before")]
    AlreadyRegistered,
    /// It does not exist.
    #[error("there is no tenant of this id")]
    NotRegistered,
    /// It would be left without an owner.
    #[error("a tenant must keep at least one active Owner")]
    LastOwner,
}

aggregate!(Tenant, TenantCommand, TenantFact, TenantRefusal);

impl Decide for Tenant {
    fn decide(&self, command: TenantCommand) -> Result<Vec<TenantFact>, TenantRefusal> {
        use TenantCommand as Command;
        let account = match (self, command) {
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
            (Self::Registered(account), command) => (account, command),
        };
        Ok(match account {
            (_, Command::Register { .. }) => return Err(TenantRefusal::AlreadyRegistered),
            (account, Command::Rename { name, .. }) if name == account.name => vec![],
            (_, Command::Rename { name, at }) => vec![TenantFact::TenantRenamed { name, at }],
            (account, Command::ChangeResilience { resilience, .. }) if resilience == account.resilience => {
                vec![]
            }
            (_, Command::ChangeResilience { resilience, at }) => {
                vec![TenantFact::ResilienceChanged { resilience, at }]
            }
            (account, Command::ChangeRetention { retention, .. }) if retention == account.retention => {
                vec![]
            }
            (_, Command::ChangeRetention { retention, at }) => {
                vec![TenantFact::RetentionChanged { retention, at }]
            }
            (_, Command::RegenerateWebhookSecret { webhook_secret, previous_signs_until, at }) => {
                vec![TenantFact::WebhookSecretRegenerated { webhook_secret, previous_signs_until, at }]
            }
            (account, Command::AppointOwner { user_id, .. }) if account.owners.contains(&user_id) => vec![],
            (_, Command::AppointOwner { user_id, at }) => vec![TenantFact::OwnerAppointed { user_id, at }],
            (account, Command::DismissOwner { user_id, at }) => {
                match (account.owners.contains(&user_id), account.owners.len()) {
                    (false, _) => vec![],
                    (true, 1) => return Err(TenantRefusal::LastOwner),
                    (true, _) => vec![TenantFact::OwnerDismissed { user_id, at }],
                }
            }
        })
    }
}

impl Tenant {
    fn fold(&mut self, fact: TenantFact) {
        match (&mut *self, fact) {
            (_, TenantFact::TenantRegistered { name, owner, resilience, retention, webhook_secret, .. }) => {
                *self = Self::Registered(Account {
                    name,
                    resilience,
                    retention,
                    owners: BTreeSet::from([owner]),
                    webhook_secret,
                });
            }
            (Self::Unknown, _) => {}
            (Self::Registered(account), fact) => account.fold(fact),
        }
    }
}

impl Account {
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
        }
    }
}
