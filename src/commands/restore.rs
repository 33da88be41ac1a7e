//! `hooksentry restore`: prepares a database that was restored from a dump.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::bail;
use projections::Projection;
use sqlx::{Connection, PgConnection};

use super::maintenance::MaintenanceSettings;
use super::rebuild::Progress;
use super::verify_projections::summary_line;
use crate::config::DatabaseUrl;
use crate::database;
use crate::event_store::BegunEra;
use crate::lifecycle::Lifecycle;
use crate::rebuild::{self, Sessions};
use crate::restore;

/// Time within which a step in progress must end after a signal.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Prepare a database that was restored from a dump, or moved to another PostgreSQL cluster.
///
/// Stop all processes of the service first. The command begins a new era of the event log, so that new facts
/// come after the restored ones, makes all jobs that are still in the queue void, creates the database role
/// that a dump does not contain, and compares the read models with the log. It can be repeated at any time; on a
/// database that needs nothing, it only compares.
#[derive(Debug, clap::Args)]
pub struct Restore {
    /// Begin a new era even if the log was written by this cluster.
    ///
    /// Use it after a recovery to an earlier point in time: jobs of the time that was undone become void.
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub settings: MaintenanceSettings,
}

impl Restore {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let url = self.settings.begin()?;
        let mut connection = self.settings.connect(&url).await?;
        database::migrate(&mut connection).await?;
        // Held to the end of this session: no second restore begins, and no process migrates.
        database::lock_migrations(&mut connection).await?;
        match restore::prepare(&mut connection, self.force).await? {
            Some(begun) => writeln!(io::stdout(), "{}", era_line(&begun))?,
            None => writeln!(io::stdout(), "the log was written by this cluster; no new era is needed")?,
        }
        self.verify(&url, connection).await
    }

    /// Compares all read models with the log.
    async fn verify(&self, url: &DatabaseUrl, mut live: PgConnection) -> anyhow::Result<()> {
        let writer = self.settings.connect(url).await?;
        let reader = self.settings.connect(url).await?;
        let lifecycle = Lifecycle::new(STOP_WITHIN);
        lifecycle.handle_signals()?;
        let mut progress = Progress::new();
        let verified = rebuild::verify(
            Sessions { writer, reader },
            &mut live,
            &Projection::ALL,
            &lifecycle.intake(),
            &mut |update| progress.show(update),
            &mut |_| {},
        )
        .await;
        progress.finish();
        let reports = verified?;
        for report in &reports {
            writeln!(io::stdout(), "{}", summary_line(report))?;
        }
        live.close().await?;
        let drifted: u64 = reports.iter().map(|report| report.drifted).sum();
        if drifted > 0 {
            bail!(
                "{drifted} rows of read models differ from the log; `hooksentry rebuild --all` corrects them"
            );
        }
        writeln!(io::stdout(), "the service can be started")?;
        Ok(())
    }
}

fn era_line(begun: &BegunEra) -> String {
    let last = begun.last.map_or_else(
        || "the log was empty".to_owned(),
        |last| format!("its last fact was recorded at {}", last.recorded_at.to_rfc3339()),
    );
    format!("the log was restored and continues in era {}; {last}; jobs in the queue are void", begun.era)
}
