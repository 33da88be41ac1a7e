//! `hooksentry rebuild`: rebuilds read models from the log while the service runs.

mod names;
mod progress;

use std::io::{self, Write};
use std::time::Duration;

use anyhow::{Context, bail};
use projections::Projection;
use sqlx::PgConnection;

use super::maintenance::MaintenanceSettings;
use crate::lifecycle::Lifecycle;
use crate::rebuild::{self, RebuildFailure, Sessions};
pub(super) use names::{list_of_names, projections_named};
pub(super) use progress::Progress;

/// Time within which a step in progress must end after a signal.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Rebuild read models from the log while the service runs, and replace the live ones.
///
/// The live read models are used until the rebuilt ones replace them; reads are never interrupted.
///
/// The command can be stopped at any time; the same command then resumes the rebuild. It needs disk space for
/// a second copy of the read models, and the database user who owns them.
#[derive(Debug, clap::Args)]
pub struct Rebuild {
    /// Read models to rebuild.
    #[arg(value_name = "NAME", required_unless_present_any = ["all", "drop"])]
    pub names: Vec<String>,
    /// Rebuild all read models, in one pass over the log.
    #[arg(long, conflicts_with_all = ["names", "drop"])]
    pub all: bool,
    /// Discard the unfinished rebuild of this read model. The live one is not changed.
    #[arg(long, value_name = "NAME", conflicts_with = "names")]
    pub drop: Option<String>,
    #[command(flatten)]
    pub settings: MaintenanceSettings,
}

impl Rebuild {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let url = self.settings.begin()?;
        let mut writer = self.settings.connect_to_current(&url).await?;
        if let Some(name) = &self.drop {
            return discard(&mut writer, name).await;
        }
        let unfinished = rebuild::unfinished(&mut writer).await?;
        let projections = match self.all {
            true => Projection::ALL.to_vec(),
            false => projections_named(&self.names, &unfinished)?,
        };
        names::warn_of_unknown(&unfinished);
        let reader = self.settings.connect(&url).await?;

        let lifecycle = Lifecycle::new(STOP_WITHIN);
        lifecycle.handle_signals()?;
        let mut progress = Progress::new();
        let rebuilt =
            rebuild::rebuild(Sessions { writer, reader }, &projections, &lifecycle.intake(), &mut |update| {
                progress.show(update)
            })
            .await;
        progress.finish();
        match rebuilt {
            Ok(()) => {
                writeln!(io::stdout(), "rebuilt: {}", list_of_names(&projections))?;
                Ok(())
            }
            Err(RebuildFailure::Interrupted) => bail!(
                "interrupted: the live read models are unchanged, except for those already replaced; the same \
                 command resumes the rebuild, and `hooksentry rebuild --drop NAME` discards it"
            ),
            Err(failure) => Err(failure.into()),
        }
    }
}

async fn discard(connection: &mut PgConnection, name: &str) -> anyhow::Result<()> {
    if rebuild::discard(connection, name).await? {
        writeln!(
            io::stdout(),
            "the unfinished rebuild of {name} was discarded; the live rows are unchanged"
        )?;
        return Ok(());
    }
    let unfinished =
        rebuild::unfinished(connection).await.context("the unfinished rebuilds cannot be listed")?;
    match unfinished.as_slice() {
        [] => bail!("there is no unfinished rebuild of {name:?}, nor of any other read model"),
        names => bail!("there is no unfinished rebuild of {name:?}, only of {}", names.join(", ")),
    }
}
