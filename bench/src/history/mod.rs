//! Latency of lists and statistics on a long history.
//!
//! [`load`] creates the history. Tenants, destinations and senders are created through the API. The facts of
//! their events are copied into the log in bulk, and the running projector applies them, so the rows of the
//! read models are those that the service itself would have written. [`read`] then requests lists of every
//! kind, and pages of the dashboard, many times, and reports their latencies.
//!
//! Nothing is delivered, because the destinations are made inactive before their first event.

mod copy;
mod event_generator;
mod loading;
mod options;
mod pages;
mod queries;
mod reading;
mod sizes;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use chrono::{DateTime, SubsecRound, Utc};
use serde::{Deserialize, Serialize};

pub use loading::{Loaded, load};
pub use options::{LoadOptions, ReadOptions};
pub use reading::{QueryLatency, ReadReport, read};
pub use sizes::Relation;

use crate::setup::BenchTenant;

/// Record of a loaded history, which `bench load` writes for `bench read`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HistoryRecord {
    /// The measured tenant. Its credentials are in plain text, because its data is generated.
    tenant: BenchTenant,
    destinations: Vec<uuid::Uuid>,
    events: u64,
    days: u32,
}

impl HistoryRecord {
    fn write(&self, path: &Path) -> anyhow::Result<()> {
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(path).with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(file.write_all(&serde_json::to_vec_pretty(self)?)?)
    }

    fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read(path).with_context(|| {
            format!("{} cannot be read; `hooksentry bench load` writes it", path.display())
        })?;
        serde_json::from_slice(&text)
            .with_context(|| format!("{} is not a record of `hooksentry bench load`", path.display()))
    }
}

/// Returns the current time in whole milliseconds, which is the precision of facts.
#[expect(clippy::disallowed_methods, reason = "times of generated events need no injected clock")]
fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(3)
}
