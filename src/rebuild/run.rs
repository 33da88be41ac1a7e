//! Rebuilding: builds shadow tables and replaces the live tables with them.

use std::time::Duration;

use projections::{Projection, checkpoints, retention};
use sqlx::{Connection, Executor, PgConnection};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::blockers::is_lock_failure;
use super::ddl::{self, ShadowKind};
use super::record::Unfinished;
use super::shadow_schema::{Sessions, ShadowSchema, ShadowTables, lock};
use super::{Progress, RebuildFailure, live_tables, program, record};

/// The schema of shadow tables until they replace the live ones.
const SCHEMA: &str = "rebuilding";
/// Time for which the session that pauses retention may be idle. Longer than any step of a swap.
const PAUSE_IDLE_MAX: Duration = Duration::from_secs(300);
/// Time for an interrupted rebuild to release checkpoints. Holds expire soon in any case.
const RELEASE_WITHIN: Duration = Duration::from_secs(1);

/// Rebuilds `projections`, or resumes their unfinished rebuilds, and replaces the live tables of each once the shadow
/// tables have reached the same position. `stop` ends this at any moment: the next call resumes what was not swapped,
/// and the live rows are untouched.
///
/// # Errors
///
/// See [`RebuildFailure`]. Projections that were swapped before the failure stay swapped.
pub async fn rebuild(
    sessions: Sessions,
    projections: &[Projection],
    stop: &CancellationToken,
    report: &mut (dyn FnMut(Progress) + Send),
) -> Result<(), RebuildFailure> {
    let mut schema = ShadowSchema::open(sessions, SCHEMA, ShadowKind::Replacement, projections).await?;
    let ended = tokio::select! {
        () = stop.cancelled() => Err(RebuildFailure::Interrupted),
        ended = schema.rebuild(projections, report) => ended,
    };
    if matches!(ended, Err(RebuildFailure::Interrupted)) {
        let releasing = async {
            for projection in projections {
                checkpoints::release(&mut schema.reader, projection.name()).await?;
            }
            Ok::<(), sqlx::Error>(())
        };
        // Without it, the hold expires by itself.
        let _ = timeout(RELEASE_WITHIN, releasing).await;
    }
    ended
}

/// Returns the names of the projections with an unfinished rebuild, including names that this program does not know.
///
/// # Errors
///
/// When the database fails.
pub async fn unfinished(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    Ok(record::list(connection).await?.into_iter().map(|unfinished| unfinished.projection).collect())
}

/// Drops the unfinished rebuild of the projection called `name`. Returns whether there was one.
///
/// # Errors
///
/// When the database fails, or a rebuild or verification is running.
pub async fn discard(connection: &mut PgConnection, name: &str) -> Result<bool, RebuildFailure> {
    lock(connection).await?;
    let unfinished = record::list(connection).await?;
    let Some(unfinished) = unfinished.into_iter().find(|unfinished| unfinished.projection == name) else {
        return Ok(false);
    };
    let mut transaction = connection.begin().await?;
    ddl::drop(&mut transaction, SCHEMA, &unfinished.tables).await?;
    record::remove(&mut transaction, name).await?;
    ddl::drop_empty_schema(&mut transaction, SCHEMA).await?;
    transaction.commit().await?;
    Ok(true)
}

impl ShadowSchema {
    async fn rebuild(
        &mut self,
        projections: &[Projection],
        report: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(), RebuildFailure> {
        let program = program::digest().await?;
        let unfinished = record::list(&mut self.reader).await?;
        let mut shadows = Vec::with_capacity(projections.len());
        for projection in projections.iter().copied() {
            shadows.push(self.begin(projection, &program, &unfinished, report).await?);
        }
        self.catch_up(&mut shadows, report).await?;
        for shadow in &mut shadows {
            // Most of the removal runs before there are indexes to maintain.
            self.remove_returned(shadow.projection).await?;
            self.complete(shadow.projection, report).await?;
            self.swap_without_retention(shadow, report).await?;
        }
        Ok(ddl::drop_empty_schema(&mut self.writer, self.name).await?)
    }

    /// Resumes the unfinished rebuild, if there is a valid one, or creates empty tables.
    async fn begin(
        &mut self,
        projection: Projection,
        program: &str,
        unfinished: &[Unfinished],
        report: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<ShadowTables, RebuildFailure> {
        let definition = live_tables::definition(&mut self.reader, projection).await?;
        let fresh = ShadowTables::new(projection, program, definition);
        let unfinished = unfinished.iter().find(|unfinished| unfinished.projection == projection.name());
        if let Some(valid) = unfinished.filter(|unfinished| unfinished.made_by == fresh.made_by())
            && ddl::exist(&mut self.reader, self.name, projection).await?
        {
            report(Progress::Resumed(projection));
            let mut resumed = fresh;
            (resumed.position, resumed.target) = (valid.position, valid.position);
            return Ok(resumed);
        }
        let mut transaction = self.writer.begin().await?;
        if let Some(invalid) = unfinished {
            ddl::drop(&mut transaction, self.name, &invalid.tables).await?;
            record::remove(&mut transaction, projection.name()).await?;
        }
        ddl::drop(&mut transaction, self.name, &ddl::names(projection)).await?;
        ddl::create(&mut transaction, self.name, projection, self.kind).await?;
        record::insert(&mut transaction, projection, &fresh.made_by()).await?;
        transaction.commit().await?;
        report(Progress::Started(projection));
        Ok(fresh)
    }

    /// Swaps `shadow` without the rows that retention has removed from the live tables. Retention is paused
    /// meanwhile, so that it removes no more.
    async fn swap_without_retention(
        &mut self,
        shadow: &mut ShadowTables,
        report: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(), RebuildFailure> {
        let projection = shadow.projection;
        match retention::pause(&mut self.reader, PAUSE_IDLE_MAX).await {
            Err(error) if is_lock_failure(&error) => {
                let obstacle = "a retention step did not end in time".to_owned();
                return Err(RebuildFailure::SwapBlocked { projection, obstacle });
            }
            paused => paused?,
        }
        let swapping = async {
            // Events that were removed last must have ended in the shadow tables too.
            self.set_target(shadow).await?;
            self.fold(std::slice::from_mut(shadow), report).await?;
            self.remove_returned(projection).await?;
            self.swap(shadow, report).await
        };
        let swapped = swapping.await;
        let resumed = retention::resume(&mut self.reader).await;
        swapped?;
        Ok(resumed?)
    }

    /// Creates the indexes that only readers need, and gathers statistics.
    async fn complete(
        &mut self,
        projection: Projection,
        report: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(), RebuildFailure> {
        report(Progress::Indexing(projection));
        for statement in ddl::missing_indexes(&mut self.writer, self.name, projection).await? {
            match self.writer.execute(statement.as_str()).await {
                // An index that is built concurrently waits for every older snapshot.
                Err(error) if is_lock_failure(&error) => {
                    let obstacle = self.describe_blocker().await?;
                    return Err(RebuildFailure::SwapBlocked { projection, obstacle });
                }
                built => built?,
            };
        }
        Ok(ddl::vacuum(&mut self.writer, self.name, projection).await?)
    }
}

#[cfg(test)]
mod tests {
    use projections::LogPosition;

    use super::*;

    #[test]
    fn shadow_tables_are_valid_for_one_program_and_one_definition() {
        let tables = |program: &str, definition: &str| {
            ShadowTables::new(Projection::Users, program, definition.to_owned())
        };
        assert_eq!(tables("a", "x").made_by(), tables("a", "x").made_by());
        assert_ne!(tables("a", "x").made_by(), tables("b", "x").made_by());
        assert_ne!(tables("a", "x").made_by(), tables("a", "y").made_by());
        assert_eq!(tables("a", "x").position, LogPosition::default());
    }
}
