//! `hooksentry rebuild`: read models, built anew from the log while everything runs.

mod names;
mod progress;

use std::io::{self, Write};
use std::time::Duration;

use anyhow::{Context, bail};
use projections::Projection;
use sqlx::PgConnection;

use crate::config::{DatabaseSettings, LogSettings, StartSettings};
use crate::database;
use crate::lifecycle::Lifecycle;
use crate::rebuild::{self, RebuildFailure, Sessions};
pub(super) use names::{list_of_names, projections_named};
pub(super) use progress::Progress;

/// How long what is under way may take to end after a signal.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// The rebuilding. The live read models serve until the new ones take their place, and reads never stop.
///
/// It may be stopped at any moment; the same command then goes on where it was. It needs room for a second
/// copy of the read models, and a user who owns them.
#[derive(Debug, clap::Args)]
pub struct Rebuild {
    /// The read models to rebuild.
    #[arg(value_name = "NAME", required_unless_present_any = ["all", "drop"])]
    pub names: Vec<String>,
    /// Rebuild all of them, in one reading of the log.
    #[arg(long, conflicts_with_all = ["names", "drop"])]
    pub all: bool,
    /// Drop what an interrupted rebuild has built so far of this read model. The live one is not touched.
    #[arg(long, value_name = "NAME", conflicts_with = "names")]
    pub drop: Option<String>,
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

impl Rebuild {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let url = self.database.require()?;
        let mut writer = database::connect_once(&url, self.start.timeout).await?;
        database::require_current(&mut writer).await?;
        if let Some(name) = &self.drop {
            return abandon(&mut writer, name).await;
        }
        let half_built = rebuild::unfinished(&mut writer).await?;
        let projections = match self.all {
            true => Projection::ALL.to_vec(),
            false => projections_named(&self.names, &half_built)?,
        };
        names::warn_of_unknown(&half_built);
        let reader = database::connect_once(&url, self.start.timeout).await?;

        let lifecycle = Lifecycle::new(STOP_WITHIN);
        lifecycle.attend_to_signals()?;
        let mut progress = Progress::new();
        let rebuilt =
            rebuild::rebuild(Sessions { writer, reader }, &projections, &lifecycle.intake(), &mut |news| {
                progress.tell(news)
            })
            .await;
        progress.finish();
        match rebuilt {
            Ok(()) => {
                writeln!(io::stdout(), "{} serve their new rows", list_of_names(&projections))?;
                Ok(())
            }
            Err(RebuildFailure::Interrupted) => bail!(
                "interrupted: the live read models are as they were, but for those that were swapped; the same \
                 command goes on where this ended, and `hooksentry rebuild --drop NAME` drops what it has built"
            ),
            Err(failure) => Err(failure.into()),
        }
    }
}

async fn abandon(connection: &mut PgConnection, name: &str) -> anyhow::Result<()> {
    if rebuild::discard(connection, name).await? {
        writeln!(io::stdout(), "what was built of {name} is dropped; the live rows are as they were")?;
        return Ok(());
    }
    let half_built = rebuild::unfinished(connection).await.context("the list cannot be read")?;
    match half_built.as_slice() {
        [] => bail!("there is nothing half built of {name:?}, nor of any other read model"),
        names => bail!("there is nothing half built of {name:?}, only of {}", names.join(", ")),
    }
}
