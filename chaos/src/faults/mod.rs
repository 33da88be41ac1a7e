//! Faults: what kinds there are, the plan that a seed draws, and how each is injected.

mod inject;
mod plan;

use std::fmt;
use std::str::FromStr;

use anyhow::bail;

pub(crate) use inject::{ActiveFault, Injector};
pub use plan::PlanSize;
pub(crate) use plan::{Plan, PlannedFault, Step};

/// Kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// A process is killed, and started again.
    Kill,
    /// A process is stopped by SIGSTOP, and continues.
    Pause,
    /// PostgreSQL ends without a shutdown, and recovers.
    PostgresCrash,
    /// One backend of PostgreSQL is stopped by SIGSTOP, and continues.
    BackendPause,
    /// A node of RabbitMQ is killed, and started again.
    BrokerCrash,
    /// The queue of jobs is deleted on the broker.
    QueueDeletion,
    /// Connections are closed, and new ones refused.
    Cut,
    /// Bytes arrive late.
    Delay,
    /// Bytes do not arrive before the end of the fault.
    Stall,
    /// Bytes are lost, and the connections stay open without an answer.
    Swallow,
    /// The clock of a process is set forwards or back.
    ClockStep,
    /// A standby that waits for no commit replaces the primary, and lacks the last commits.
    AsyncFailover,
    /// A standby that every commit waits for replaces the primary.
    SyncFailover,
    /// The primary of a cluster under Patroni is killed.
    PatroniFailover,
    /// The database is dumped and restored into a new cluster.
    Restore,
}

impl FaultKind {
    pub const ALL: [Self; 15] = [
        Self::Kill,
        Self::Pause,
        Self::PostgresCrash,
        Self::BackendPause,
        Self::BrokerCrash,
        Self::QueueDeletion,
        Self::Cut,
        Self::Delay,
        Self::Stall,
        Self::Swallow,
        Self::ClockStep,
        Self::AsyncFailover,
        Self::SyncFailover,
        Self::PatroniFailover,
        Self::Restore,
    ];

    /// The name in reports and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::PostgresCrash => "postgres-crash",
            Self::BackendPause => "backend-pause",
            Self::BrokerCrash => "broker-crash",
            Self::QueueDeletion => "queue-deletion",
            Self::Cut => "cut",
            Self::Delay => "delay",
            Self::Stall => "stall",
            Self::Swallow => "swallow",
            Self::ClockStep => "clock-step",
            Self::AsyncFailover => "async-failover",
            Self::SyncFailover => "sync-failover",
            Self::PatroniFailover => "patroni-failover",
            Self::Restore => "restore",
        }
    }

    /// Whether claimed attempts may be left without an outcome, so that only their time limit ends them: the process
    /// that would record it is stopped, or a primary is lost with the answers to claims.
    #[must_use]
    pub fn leaves_attempts_open(self) -> bool {
        matches!(
            self,
            Self::Pause
                | Self::BackendPause
                | Self::Stall
                | Self::AsyncFailover
                | Self::SyncFailover
                | Self::PatroniFailover
        )
    }

    /// Whether it concerns one connection between a process and a server.
    #[must_use]
    pub fn is_of_network(self) -> bool {
        matches!(self, Self::Cut | Self::Delay | Self::Stall | Self::Swallow)
    }

    /// Whether it is possible with this kind of database.
    #[must_use]
    pub fn is_possible(self, patroni: bool) -> bool {
        match self {
            Self::PatroniFailover => patroni,
            Self::PostgresCrash
            | Self::BackendPause
            | Self::AsyncFailover
            | Self::SyncFailover
            | Self::Restore => !patroni,
            _ => true,
        }
    }

    /// Whether it is over as soon as it has begun.
    #[must_use]
    pub fn ends_at_once(self) -> bool {
        matches!(self, Self::PostgresCrash | Self::QueueDeletion) || self.replaces_database()
    }

    /// Whether it replaces the server of the database, so that no other fault may happen at the same time.
    #[must_use]
    pub fn replaces_database(self) -> bool {
        matches!(self, Self::AsyncFailover | Self::SyncFailover | Self::PatroniFailover | Self::Restore)
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for FaultKind {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match Self::ALL.into_iter().find(|kind| kind.name() == text) {
            Some(kind) => Ok(kind),
            None => bail!("must be one of {}", Self::ALL.map(Self::name).join(", ")),
        }
    }
}
