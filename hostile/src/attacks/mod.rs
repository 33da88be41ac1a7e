//! The attacks: those of strangers, who have no account, and those of a tenant.

mod stranger;
mod tenant;

use std::fmt;
use std::str::FromStr;

use anyhow::bail;
use tokio::task::JoinSet;

use tenant::HostileTenant;

/// Address of the attacker's clients, as a proxy would report it.
const ADDRESS: &str = "203.0.113.9";

/// Kind of attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    /// Connections that send nothing.
    SilentConnections,
    /// Connections that send half of HTTP/2's preface.
    HalfPreface,
    /// Bodies without credentials of which one byte a second arrives.
    SlowBodies,
    /// Large answers that are not read.
    UnreadAnswers,
    /// Logins with wrong passwords, each of which has to be hashed.
    LoginFlood,
    /// Changes of one's own password.
    PasswordChanges,
    /// Refreshes of one's own session.
    RefreshFlood,
    /// A receiver that answers 200 and then sends a byte a second.
    DrippingReceiver,
    /// Large payloads to a receiver that never answers.
    LargePayloads,
    /// A destination that is its own ingest.
    Loop,
    /// Destinations that refuse connections, with the shortest timer of the breaker.
    DeadDestinations,
    /// Lists sorted by payload.
    ExpensiveLists,
}

/// What an attack uses.
pub(crate) struct Attacker {
    base: String,
    /// Present for attacks of a tenant.
    tenant: Option<HostileTenant>,
}

impl Attack {
    pub const ALL: [Self; 12] = [
        Self::SilentConnections,
        Self::HalfPreface,
        Self::SlowBodies,
        Self::UnreadAnswers,
        Self::LoginFlood,
        Self::PasswordChanges,
        Self::RefreshFlood,
        Self::DrippingReceiver,
        Self::LargePayloads,
        Self::Loop,
        Self::DeadDestinations,
        Self::ExpensiveLists,
    ];

    /// The name in the table and on the command line.
    const fn name(self) -> &'static str {
        match self {
            Self::SilentConnections => "silent-connections",
            Self::HalfPreface => "half-preface",
            Self::SlowBodies => "slow-bodies",
            Self::UnreadAnswers => "unread-answers",
            Self::LoginFlood => "login-flood",
            Self::PasswordChanges => "password-changes",
            Self::RefreshFlood => "refresh-flood",
            Self::DrippingReceiver => "dripping-receiver",
            Self::LargePayloads => "large-payloads",
            Self::Loop => "loop",
            Self::DeadDestinations => "dead-destinations",
            Self::ExpensiveLists => "expensive-lists",
        }
    }

    /// Returns the beginning of the metric that counts the refusals of the limit that stops the attack; `None`: there is
    /// none, or the limit takes longer than a short attack.
    pub(crate) const fn refusals(self) -> Option<&'static str> {
        match self {
            Self::SlowBodies => Some(r#"hooksentry_http_refused_total{limit="anonymous"}"#),
            Self::LoginFlood => Some("hooksentry_password_hashes_refused_total{"),
            Self::PasswordChanges => Some(r#"hooksentry_security_events_total{kind="too-many-requests"}"#),
            Self::Loop => Some("hooksentry_webhook_loops_total "),
            _ => None,
        }
    }

    /// Creates what the attack needs before it begins.
    ///
    /// # Errors
    /// The API refuses.
    pub(crate) async fn prepare(self, base: &str) -> anyhow::Result<Attacker> {
        let tenant = match self {
            Self::SilentConnections
            | Self::HalfPreface
            | Self::SlowBodies
            | Self::UnreadAnswers
            | Self::LoginFlood => None,
            _ => {
                let mut tenant = HostileTenant::register(base).await?;
                match self {
                    Self::DrippingReceiver => tenant.add_dripping_receiver().await?,
                    Self::LargePayloads => tenant.add_hanging_receiver().await?,
                    Self::Loop => tenant.add_loop().await?,
                    Self::DeadDestinations => tenant.add_dead_destinations().await?,
                    Self::ExpensiveLists => tenant.fill_lists().await?,
                    _ => {}
                }
                Some(tenant)
            }
        };
        Ok(Attacker { base: base.to_owned(), tenant })
    }

    /// Begins the attack, which ends when the tasks are dropped.
    pub(crate) fn begin(self, attacker: &Attacker) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let base = &attacker.base;
        let Some(tenant) = &attacker.tenant else {
            match self {
                Self::SilentConnections => stranger::hold_connections(&mut tasks, base, b""),
                Self::HalfPreface => stranger::hold_connections(&mut tasks, base, b"PRI * HT"),
                Self::SlowBodies => stranger::send_slow_bodies(&mut tasks, base),
                Self::UnreadAnswers => stranger::leave_answers_unread(&mut tasks, base),
                _ => stranger::guess_passwords(&mut tasks, base),
            }
            return tasks;
        };
        match self {
            Self::PasswordChanges => tenant.change_password(&mut tasks),
            Self::RefreshFlood => tenant.refresh(&mut tasks),
            Self::DrippingReceiver => tenant.send(&mut tasks, 16, 100),
            Self::LargePayloads => tenant.send(&mut tasks, 8, 900_000),
            Self::Loop => tenant.send(&mut tasks, 4, 100),
            Self::DeadDestinations => tenant.send(&mut tasks, 4, 100),
            _ => tenant.list(&mut tasks),
        }
        tasks
    }
}

impl fmt::Display for Attack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Attack {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match Self::ALL.into_iter().find(|attack| attack.name() == text) {
            Some(attack) => Ok(attack),
            None => bail!("must be one of {}", Self::ALL.map(Self::name).join(", ")),
        }
    }
}
