//! State of the service.

use chrono::{DateTime, Utc};
use serde::Deserialize;

/// Whether the service can work, and how far its parts are behind.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Readiness {
    pub(crate) projections: Vec<ReadModel>,
    pub(crate) readers_held_back_by: Option<String>,
    pub(crate) evidence: Evidence,
}

/// State of a read model.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ReadModel {
    pub(crate) name: String,
    pub(crate) halted: bool,
    /// Age of the oldest fact that it has not applied.
    pub(crate) lag_seconds: f64,
}

/// State of the transparency logs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Evidence {
    /// `None`: nothing has been sealed yet.
    pub(crate) last_checkpoint_at: Option<DateTime<Utc>>,
}
