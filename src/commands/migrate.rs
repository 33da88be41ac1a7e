//! `hooksentry migrate`: migrates the database schema.

use std::io::{self, Write};

use sqlx::Connection;

use super::maintenance::MaintenanceSettings;
use crate::database;

/// Migrate the database schema to the current version.
///
/// `serve` does the same at startup; this command is for installations whose service may not change the
/// schema.
#[derive(Debug, clap::Args)]
pub struct Migrate {
    #[command(flatten)]
    pub settings: MaintenanceSettings,
}

impl Migrate {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let mut connection = self.settings.connect(&self.settings.begin()?).await?;
        let applied = database::migrate(&mut connection).await?;
        connection.close().await?;
        match applied {
            0 => writeln!(io::stdout(), "the schema is up to date")?,
            applied => writeln!(io::stdout(), "the schema is up to date; {applied} migrations were applied")?,
        }
        Ok(())
    }
}
