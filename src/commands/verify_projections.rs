//! `hooksentry verify-projections`: compares live read models with the log.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::bail;
use projections::Projection;
use thiserror::Error;

use super::maintenance::MaintenanceSettings;
use super::rebuild::{Progress, list_of_names, projections_named};
use crate::config::DatabaseUrl;
use crate::lifecycle::Lifecycle;
use crate::rebuild::{self, DisplayedValue, Drift, DriftReport, DriftedRow, RebuildFailure, Sessions};

/// Maximum number of differing rows that are printed. All are counted.
const PRINTED_MAX: u64 = 100;
/// Time within which a step in progress must end after a signal.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Compare read models with the log, row by row.
///
/// The command changes nothing, and the service can continue to run.
///
/// It rebuilds the read models from the log in separate tables, up to the log position of the live ones, and
/// compares each row. Exit code 0: all rows are equal; 1: some rows differ; 2: the comparison failed. It
/// needs disk space for a second copy of the read models, and the database user who owns them.
#[derive(Debug, clap::Args)]
pub struct VerifyProjections {
    /// Read models to compare [default: all].
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    #[command(flatten)]
    pub settings: MaintenanceSettings,
}

/// Reason why no comparison was made, so that it is unknown whether rows differ.
#[derive(Debug, Error)]
#[error("the read models could not be compared: {0:#}")]
pub struct ComparisonFailed(anyhow::Error);

impl VerifyProjections {
    /// Compares the read models; differing rows are an error.
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let url = self.settings.begin()?;
        let reports = self.compare(&url).await.map_err(ComparisonFailed)?;
        let drifted: u64 = reports.iter().map(|report| report.drifted).sum();
        for report in &reports {
            writeln!(io::stdout(), "{}", summary_line(report))?;
        }
        if drifted > PRINTED_MAX {
            writeln!(io::stdout(), "{} more rows differ than are listed", drifted - PRINTED_MAX)?;
        }
        if drifted > 0 {
            let differing =
                reports.iter().filter(|report| report.drifted > 0).map(|report| report.projection);
            bail!(
                "{drifted} rows differ from the log; `hooksentry rebuild {}` corrects them",
                list_of_names(&differing.collect::<Vec<_>>()).replace(", ", " ")
            );
        }
        Ok(())
    }

    async fn compare(&self, url: &DatabaseUrl) -> anyhow::Result<Vec<DriftReport>> {
        let projections = match self.names.as_slice() {
            [] => Projection::ALL.to_vec(),
            names => projections_named(names, &[])?,
        };
        let writer = self.settings.connect_to_current(url).await?;
        let reader = self.settings.connect(url).await?;
        let mut live = self.settings.connect(url).await?;

        let lifecycle = Lifecycle::new(STOP_WITHIN);
        lifecycle.handle_signals()?;
        let mut progress = Progress::new();
        let mut printed = 0;
        let verified = rebuild::verify(
            Sessions { writer, reader },
            &mut live,
            &projections,
            &lifecycle.intake(),
            &mut |update| progress.show(update),
            &mut |row| {
                printed += 1;
                if printed <= PRINTED_MAX {
                    // Continue even if standard output is closed: the exit code has the result.
                    let _ = writeln!(io::stdout(), "{}", row_line(&row));
                }
            },
        )
        .await;
        progress.finish();
        match verified {
            Err(RebuildFailure::Interrupted) => bail!("interrupted; the database is unchanged"),
            verified => Ok(verified?),
        }
    }
}

pub(super) fn summary_line(report: &DriftReport) -> String {
    let DriftReport { projection, position, halted_because, rows, drifted } = report;
    let halted = match halted_because {
        Some(because) => format!("; the projection is halted there: {because}"),
        None => String::new(),
    };
    format!(
        "{}: {drifted} of {rows} rows differ at transaction {}, position {} of the log{halted}",
        projection.name(),
        position.transaction_id,
        position.position,
    )
}

fn row_line(row: &DriftedRow) -> String {
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
