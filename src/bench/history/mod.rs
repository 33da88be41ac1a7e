//! A long history and the reads on it: how quick are lists and statistics over months of webhooks?
//!
//! [`load`] makes the history. Tenants, destinations and senders are made through the API; the facts of
//! their webhooks are copied into the log in bulk, and the running projector folds them as it folds any.
//! So the rows that are read are those that the service itself would have made. [`read`] then asks the
//! API for lists of every kind, over and over, and tells how long the answers took.
//!
//! Nothing is delivered: the destinations are inactive, and are so before their first webhook.

mod copy;
mod event_generator;
mod loading;
mod options;
mod questions;
mod reading;
mod sizes;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

pub use loading::{Loaded, load};
pub use options::{LoadOptions, ReadOptions};
pub use reading::{Answered, ReadReport, read};
pub use sizes::Relation;

use super::setup::BenchTenant;

/// What the reading has to know of the loading.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    /// The tenant with the long history, in the clear: it has nothing to hide.
    tenant: BenchTenant,
    destinations: Vec<uuid::Uuid>,
    events: u64,
    days: u32,
}

impl Kept {
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
        serde_json::from_slice(&text).with_context(|| format!("{} is not of its making", path.display()))
    }
}
