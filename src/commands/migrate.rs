//! `hooksentry migrate`: migrates the database schema.

use std::io::{self, Write};

use sqlx::Connection;

use crate::config::{DatabaseSettings, LogSettings, StartSettings};
use crate::database;
use crate::telemetry::Telemetry;

/// Migrate the database schema to the current version.
///
/// `serve` does the same at startup; this command is for installations whose service may not change the
/// schema.
#[derive(Debug, clap::Args)]
pub struct Migrate {
    #[command(flatten)]
    pub database: DatabaseSettings,
    #[command(flatten)]
    pub start: StartSettings,
    #[command(flatten)]
    pub log: LogSettings,
}

impl Migrate {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        Telemetry::start(&self.log)?;
        let url = self.database.require()?;
        let mut connection = database::connect_once(&url, self.start.timeout).await?;
        let applied = database::migrate(&mut connection).await?;
        connection.close().await?;
        match applied {
            0 => writeln!(io::stdout(), "the schema is up to date")?,
            applied => writeln!(io::stdout(), "the schema is up to date; {applied} migrations were applied")?,
        }
        Ok(())
    }
}
