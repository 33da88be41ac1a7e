//! `hooksentry migrate`: the database schema, brought up to date.

use std::io::{self, Write};

use sqlx::Connection;

use crate::config::{DatabaseSettings, LogSettings, StartSettings};
use crate::database;

/// The schema. `serve` does the same at its start; this is for those whose service may not change it.
#[derive(Debug, clap::Args)]
pub struct Migrate {
    /// Where PostgreSQL is.
    #[command(flatten)]
    pub database: DatabaseSettings,
    /// Patience at the start.
    #[command(flatten)]
    pub start: StartSettings,
    /// The program's own log.
    #[command(flatten)]
    pub log: LogSettings,
}

impl Migrate {
    pub(super) async fn run(self) -> anyhow::Result<()> {
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
