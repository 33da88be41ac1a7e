//! `hooksentry rewrap-keys`: wraps every data key with the first master key.

use std::io::{self, Write};

use anyhow::bail;

use super::maintenance::MaintenanceSettings;
use crate::config::EncryptionSettings;
use crate::database;
use crate::secrets::rewrap::rewrap;

/// Wrap every data key with the first encryption key, so that the other ones can be retired.
///
/// Put the new key first in HOOKSENTRY_ENCRYPTION_KEY, before those to be retired. The command can run while
/// the service runs, and can be stopped and repeated.
#[derive(Debug, clap::Args)]
pub struct RewrapKeys {
    #[command(flatten)]
    pub settings: MaintenanceSettings,
    #[command(flatten)]
    pub encryption: EncryptionSettings,
}

impl RewrapKeys {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let url = self.settings.begin()?;
        let master_keys = self.encryption.require()?;
        let pool = database::connect(&self.settings.database, &url, self.settings.start.timeout).await?;
        let first = master_keys.first();
        let outcome = rewrap(&pool, &master_keys, |progress| {
            // Continue even if standard output is closed.
            let _ = writeln!(io::stdout(), "{} of {} data keys", progress.done, progress.total);
        })
        .await?;
        pool.close().await;
        writeln!(
            io::stdout(),
            "{} data keys were wrapped with the key {first}; {} were already",
            outcome.rewrapped,
            outcome.already_current
        )?;
        if outcome.unreadable.is_empty() {
            return Ok(());
        }
        let unreadable: Vec<String> = outcome
            .unreadable
            .iter()
            .map(|under| format!("{} with the key {}", under.data_keys, under.master_key))
            .collect();
        bail!("some data keys could not be unwrapped and were not changed: {}", unreadable.join(", "))
    }
}
