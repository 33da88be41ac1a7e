//! Comparing live rows with what the log says.

use projections::{LogPosition, Projection};
use sqlx::{Connection, Executor, PgConnection};
use tokio_util::sync::CancellationToken;

use super::compare::compare;
use super::difference::DriftedRow;
use super::shadow_tables::{Connections, Generation, ShadowTables, checkpoint};
use super::tables::Purpose;
use super::{News, RebuildFailure, tables};

/// Where the generations stand that live rows are compared with. What is in it is of no use to a later run.
const SCHEMA: &str = "verifying";

/// What was found out about a projection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub projection: Projection,
    /// The place of the log at which its live rows were compared.
    pub position: LogPosition,
    /// Why it had halted there, if it had.
    pub halted_because: Option<String>,
    /// How many rows there are, on either side.
    pub rows: u64,
    /// How many of them stray.
    pub drifted: u64,
}

/// Compares the live rows of `projections` with the log, row by row, as they stand at one moment. `live` is
/// a session to see them by. What strays is told at once, by `drifted`. Nothing is left behind, unless the
/// process dies; then the next run clears it away.
pub async fn verify(
    connections: Connections,
    live: &mut PgConnection,
    projections: &[Projection],
    stop: &CancellationToken,
    report: &mut (dyn FnMut(News) + Send),
    drifted: &mut (dyn FnMut(DriftedRow) + Send),
) -> Result<Vec<Verdict>, RebuildFailure> {
    let mut shadow_tables = ShadowTables::open(connections, SCHEMA, Purpose::ToCompare, projections).await?;
    let ended = tokio::select! {
        () = stop.cancelled() => Err(RebuildFailure::Interrupted),
        ended = shadow_tables.verify(live, projections, report, drifted) => ended,
    };
    let cleared = shadow_tables.clear_away().await;
    let verdicts = ended?;
    cleared?;
    Ok(verdicts)
}

impl ShadowTables {
    async fn verify(
        &mut self,
        live: &mut PgConnection,
        projections: &[Projection],
        report: &mut (dyn FnMut(News) + Send),
        drifted: &mut (dyn FnMut(DriftedRow) + Send),
    ) -> Result<Vec<Verdict>, RebuildFailure> {
        let mut generations = Vec::with_capacity(projections.len());
        for projection in projections.iter().copied() {
            tables::drop(&mut self.writer, self.schema, &tables::names(projection)).await?;
            tables::make(&mut self.writer, self.schema, projection, self.purpose).await?;
            let position = LogPosition::default();
            generations.push(Generation { projection, position, target: position, made_by: String::new() });
            report(News::Begun(projection));
        }
        // Most of the way first: what sees the live rows as they are at one moment keeps the server from
        // tidying up, and should not do so for long.
        for generation in &mut generations {
            generation.target = self.checkpoint(generation.projection).await?.position;
        }
        self.fold(&mut generations, report).await?;

        // It only reads, so it holds back nobody who follows the log.
        sqlx::query!("SELECT set_config('TimeZone', 'UTC', false) AS zone").fetch_one(&mut *live).await?;
        let mut live = live.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let mut verdicts = Vec::with_capacity(projections.len());
        for generation in &mut generations {
            let shown = checkpoint(&mut live, generation.projection).await?;
            generation.target = shown.position;
            verdicts.push(Verdict {
                projection: generation.projection,
                position: shown.position,
                halted_because: shown.halted_because,
                rows: 0,
                drifted: 0,
            });
        }
        self.fold(&mut generations, report).await?;
        for verdict in &mut verdicts {
            report(News::Comparing(verdict.projection));
            verdict.projection.remove_returned(&mut self.writer, &mut live).await?;
            let counted =
                compare(&mut live, &mut self.writer, self.schema, verdict.projection, drifted).await?;
            verdict.rows = counted.rows;
            verdict.drifted = counted.drifted;
        }
        live.commit().await?;
        Ok(verdicts)
    }

    async fn clear_away(mut self) -> Result<(), sqlx::Error> {
        // What it has under way, if this was cut off in the middle, ends with it.
        drop(self.writer);
        self.reader.execute("DROP SCHEMA IF EXISTS verifying CASCADE").await?;
        Ok(())
    }
}
