//! `hooksentry rewrap-keys`: every data key under the first master key.

use std::io::{self, Write};

use anyhow::bail;

use crate::config::{DatabaseSettings, EncryptionSettings, LogSettings, StartSettings};
use crate::database;
use crate::secrets::rewrap::rewrap;

/// The re-wrapping. It may run beside the service, be stopped, and be repeated.
#[derive(Debug, clap::Args)]
pub struct RewrapKeys {
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub database: DatabaseSettings,
    /// The keys: the new one first, then those to be retired.
    #[command(flatten)]
    pub encryption: EncryptionSettings,
    /// Patience at the start.
    #[command(flatten)]
    pub start: StartSettings,
    /// The program's own log.
    #[command(flatten)]
    pub log: LogSettings,
}

impl RewrapKeys {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let url = self.database.require()?;
        let master_keys = self.encryption.require()?;
        let pool = database::connect(&self.database, &url, self.start.timeout).await?;
        let first = master_keys.first();
        let outcome = rewrap(&pool, &master_keys, |progress| {
            // Whoever started this may have stopped reading; the work goes on.
            let _ = writeln!(io::stdout(), "{} of {} data keys", progress.done, progress.total);
        })
        .await?;
        pool.close().await;
        writeln!(
            io::stdout(),
            "{} data keys were wrapped anew under the key {first}; {} were already",
            outcome.rewrapped,
            outcome.already
        )?;
        if outcome.left.is_empty() {
            return Ok(());
        }
        let left: Vec<String> = outcome
            .left
            .iter()
            .map(|under| format!("{} under the key {}", under.data_keys, under.master_key))
            .collect();
        bail!("some data keys could not be unwrapped and stay as they are: {}", left.join(", "))
    }
}
