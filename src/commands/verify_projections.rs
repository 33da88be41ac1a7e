//! `hooksentry verify-projections`: live read models against the log.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::bail;
use projections::Projection;
use thiserror::Error;

use super::rebuild::{Progress, list_of_names, projections_named};
use crate::config::{DatabaseSettings, DatabaseUrl, LogSettings, StartSettings};
use crate::database;
use crate::lifecycle::Lifecycle;
use crate::rebuild::{self, DisplayedValue, Drift, DriftReport, DriftedRow, RebuildFailure, Sessions};

/// How many rows that stray are printed. All are counted.
const PRINTED_MAX: u64 = 100;
/// How long what is under way may take to end after a signal.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// The comparison. It changes nothing, and everything else goes on meanwhile.
///
/// The log is folded anew beside the live rows, up to the place of the log that those show, and each row is
/// compared. Exit code 0: they are the same; 1: some rows stray; 2: it could not be found out. It needs room
/// for a second copy of the read models, and a user who owns them.
#[derive(Debug, clap::Args)]
pub struct VerifyProjections {
    /// The read models to compare; all, if none is named.
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
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

/// No comparison was made, so nobody knows whether rows stray.
#[derive(Debug, Error)]
#[error("the read models could not be compared: {0:#}")]
pub struct CouldNotCompare(anyhow::Error);

impl VerifyProjections {
    /// Fails when rows stray.
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let url = self.database.require()?;
        let reports = self.compare(&url).await.map_err(CouldNotCompare)?;
        let drifted: u64 = reports.iter().map(|report| report.drifted).sum();
        for report in &reports {
            writeln!(io::stdout(), "{}", described(report))?;
        }
        if drifted > PRINTED_MAX {
            writeln!(io::stdout(), "{} more rows stray than are listed", drifted - PRINTED_MAX)?;
        }
        if drifted > 0 {
            let strays = reports.iter().filter(|report| report.drifted > 0).map(|report| report.projection);
            bail!(
                "{drifted} rows are not what the log says; `hooksentry rebuild {}` makes them so",
                list_of_names(&strays.collect::<Vec<_>>()).replace(", ", " ")
            );
        }
        Ok(())
    }

    async fn compare(&self, url: &DatabaseUrl) -> anyhow::Result<Vec<DriftReport>> {
        let projections = match self.names.as_slice() {
            [] => Projection::ALL.to_vec(),
            names => projections_named(names, &[])?,
        };
        let mut writer = database::connect_once(url, self.start.timeout).await?;
        database::require_current(&mut writer).await?;
        let reader = database::connect_once(url, self.start.timeout).await?;
        let mut live = database::connect_once(url, self.start.timeout).await?;

        let lifecycle = Lifecycle::new(STOP_WITHIN);
        lifecycle.attend_to_signals()?;
        let mut progress = Progress::new();
        let mut printed = 0;
        let verified = rebuild::verify(
            Sessions { writer, reader },
            &mut live,
            &projections,
            &lifecycle.intake(),
            &mut |news| progress.tell(news),
            &mut |row| {
                printed += 1;
                if printed <= PRINTED_MAX {
                    // Whoever started this may have stopped reading; the exit code still tells.
                    let _ = writeln!(io::stdout(), "{}", told(&row));
                }
            },
        )
        .await;
        progress.finish();
        match verified {
            Err(RebuildFailure::Interrupted) => bail!("interrupted; nothing is left behind"),
            verified => Ok(verified?),
        }
    }
}

fn described(report: &DriftReport) -> String {
    let DriftReport { projection, position, halted_because, rows, drifted } = report;
    let halted = match halted_because {
        Some(because) => format!("; it has halted there: {because}"),
        None => String::new(),
    };
    format!(
        "{}: {drifted} of {rows} rows stray at transaction {}, position {} of the log{halted}",
        projection.name(),
        position.transaction_id,
        position.position,
    )
}

fn told(row: &DriftedRow) -> String {
    let what = match &row.drift {
        Drift::Missing => "is missing; the log has it".to_owned(),
        Drift::Extra => "is not in the log".to_owned(),
        Drift::Different(columns) => {
            let column = |difference: &rebuild::ColumnDrift| match (&difference.live, &difference.log) {
                (DisplayedValue::Value(live), DisplayedValue::Value(log)) => {
                    format!("{} is {live} and should be {log}", difference.column)
                }
                _ => format!("{} is different", difference.column),
            };
            columns.iter().map(column).collect::<Vec<_>>().join("; ")
        }
    };
    format!("{} {}: {what}", row.table, row.key)
}
