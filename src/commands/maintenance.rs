//! What commands that work on the database have in common: their settings, and how they begin.

use sqlx::PgConnection;

use crate::config::{DatabaseSettings, DatabaseUrl, LogSettings, StartSettings};
use crate::database;
use crate::telemetry::Telemetry;

/// Settings of a command that works on the database.
#[derive(Debug, clap::Args)]
pub struct MaintenanceSettings {
    #[command(flatten)]
    pub database: DatabaseSettings,
    #[command(flatten)]
    pub start: StartSettings,
    #[command(flatten)]
    pub log: LogSettings,
}

impl MaintenanceSettings {
    /// Starts the log, and returns the address of the database.
    pub(super) fn begin(&self) -> anyhow::Result<DatabaseUrl> {
        Telemetry::start(&self.log)?;
        Ok(self.database.require()?)
    }

    /// Connects to the database, whose schema may be of another version.
    pub(super) async fn connect(&self, url: &DatabaseUrl) -> anyhow::Result<PgConnection> {
        Ok(database::connect_once(url, self.start.timeout).await?)
    }

    /// Connects to the database, whose schema must be that of this program.
    pub(super) async fn connect_to_current(&self, url: &DatabaseUrl) -> anyhow::Result<PgConnection> {
        let mut connection = self.connect(url).await?;
        database::require_current(&mut connection).await?;
        Ok(connection)
    }
}
