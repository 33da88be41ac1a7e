//! Verifying: compares live rows with the log.

use projections::{LogPosition, Projection};
use sqlx::{Connection, Executor, PgConnection};
use tokio_util::sync::CancellationToken;

use super::compare::compare;
use super::ddl::{self, ShadowKind};
use super::drift::DriftedRow;
use super::shadow_schema::{Sessions, ShadowSchema, ShadowTables, checkpoint};
use super::{Progress, RebuildFailure};

/// The schema of shadow tables for comparison. A later run does not use what an earlier one left.
const SCHEMA: &str = "verifying";

/// The result for one projection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriftReport {
    pub projection: Projection,
    /// Position of the log at which the live rows were compared.
    pub position: LogPosition,
    /// Why the live rows had halted there; `None`: they had not.
    pub halted_because: Option<String>,
    /// Number of rows on either side; a row on both sides counts once.
    pub rows: u64,
    /// Number of rows that differ.
    pub drifted: u64,
}

/// Compares the live rows of `projections` with the log, row by row, as of one moment. `live` is the session that reads
/// the live rows. Each row that differs is passed to `drifted` at once. The shadow tables are dropped at the end; if
/// the process dies, the next run drops them.
///
/// # Errors
///
/// See [`RebuildFailure`]. Rows that differ are not an error.
pub async fn verify(
    sessions: Sessions,
    live: &mut PgConnection,
    projections: &[Projection],
    stop: &CancellationToken,
    report: &mut (dyn FnMut(Progress) + Send),
    drifted: &mut (dyn FnMut(DriftedRow) + Send),
) -> Result<Vec<DriftReport>, RebuildFailure> {
    let mut schema = ShadowSchema::open(sessions, SCHEMA, ShadowKind::Comparison, projections).await?;
    let ended = tokio::select! {
        () = stop.cancelled() => Err(RebuildFailure::Interrupted),
        ended = schema.verify(live, projections, report, drifted) => ended,
    };
    let cleared = schema.drop_all().await;
    let reports = ended?;
    cleared?;
    Ok(reports)
}

impl ShadowSchema {
    async fn verify(
        &mut self,
        live: &mut PgConnection,
        projections: &[Projection],
        report: &mut (dyn FnMut(Progress) + Send),
        drifted: &mut (dyn FnMut(DriftedRow) + Send),
    ) -> Result<Vec<DriftReport>, RebuildFailure> {
        let mut shadows = Vec::with_capacity(projections.len());
        for projection in projections.iter().copied() {
            ddl::drop(&mut self.writer, self.name, &ddl::names(projection)).await?;
            ddl::create(&mut self.writer, self.name, projection, self.kind).await?;
            shadows.push(ShadowTables::new(projection, "", String::new()));
            report(Progress::Started(projection));
        }
        // Most facts are folded before the snapshot of the live rows is taken, because a long snapshot keeps the server
        // from vacuuming.
        for shadow in &mut shadows {
            shadow.target = self.checkpoint(shadow.projection).await?.position;
        }
        self.fold(&mut shadows, report).await?;

        // A transaction that only reads holds back no reader of the log.
        sqlx::query!("SELECT set_config('TimeZone', 'UTC', false) AS zone").fetch_one(&mut *live).await?;
        let mut live = live.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let mut reports = Vec::with_capacity(projections.len());
        for shadow in &mut shadows {
            let shown = checkpoint(&mut live, shadow.projection).await?;
            shadow.target = shown.position;
            reports.push(DriftReport {
                projection: shadow.projection,
                position: shown.position,
                halted_because: shown.halted_because,
                rows: 0,
                drifted: 0,
            });
        }
        self.fold(&mut shadows, report).await?;
        for drift_report in &mut reports {
            report(Progress::Comparing(drift_report.projection));
            drift_report.projection.remove_returned(&mut self.writer, &mut live).await?;
            let counted =
                compare(&mut live, &mut self.writer, self.name, drift_report.projection, drifted).await?;
            drift_report.rows = counted.rows;
            drift_report.drifted = counted.drifted;
        }
        live.commit().await?;
        Ok(reports)
    }

    async fn drop_all(mut self) -> Result<(), sqlx::Error> {
        // Closing the session ends a statement that is still running after an interruption.
        drop(self.writer);
        self.reader.execute("DROP SCHEMA IF EXISTS verifying CASCADE").await?;
        Ok(())
    }
}
