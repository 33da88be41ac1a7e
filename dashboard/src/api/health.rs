//! State of the service.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;

/// Whether the service can work, and how far its parts are behind.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Readiness {
    /// `ready` or `degraded`; a number if the service cannot work.
    pub(crate) status: Value,
    /// Why it cannot work.
    pub(crate) detail: String,
    pub(crate) completeness: Completeness,
    pub(crate) projections: Vec<ReadModel>,
    pub(crate) quarantined_streams: u64,
    pub(crate) readers_held_back_by: Option<String>,
    pub(crate) set_aside_events: u64,
    pub(crate) evidence: Evidence,
    pub(crate) oldest_commit_seconds: f64,
    pub(crate) leads: Vec<Lead>,
    /// `None`: it cannot be read now.
    pub(crate) backlog: Option<Backlog>,
    /// `None`: it cannot be read now, or the log is empty.
    pub(crate) log_head: Option<LogHead>,
}

/// What is to be delivered, of all tenants.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Backlog {
    pub(crate) waiting: u64,
    /// Those of them that could be sent now.
    pub(crate) due: u64,
    /// Time since which the oldest of these could be sent.
    pub(crate) oldest_due_seconds: f64,
    pub(crate) in_progress: u64,
    /// Whether more may wait than are counted.
    pub(crate) is_lower_bound: bool,
}

/// Last fact of the log.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LogHead {
    pub(crate) position: u64,
    pub(crate) recorded_at: DateTime<Utc>,
}

/// Result of the check that every accepted event has ended or will be delivered.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Completeness {
    pub(crate) unaccounted_events: u64,
    /// `None` before the first check.
    pub(crate) checked_at: Option<DateTime<Utc>>,
}

/// A role that one process performs at a time.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Lead {
    pub(crate) role: String,
    /// Whether the process that answered performs it.
    pub(crate) leads: bool,
    pub(crate) confirmed_seconds_ago: f64,
}

/// State of a read model.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ReadModel {
    pub(crate) name: String,
    pub(crate) halted: bool,
    /// Facts that it has not applied.
    pub(crate) lag_facts: u64,
    /// Age of the oldest fact that it has not applied.
    pub(crate) lag_seconds: f64,
}

/// State of the transparency logs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Evidence {
    /// Facts that are not in the logs yet.
    pub(crate) lag_facts: u64,
    /// Logs with entries that no signed checkpoint covers.
    pub(crate) unsigned_logs: u64,
    /// `None`: nothing has been sealed yet.
    pub(crate) last_checkpoint_at: Option<DateTime<Utc>>,
}
