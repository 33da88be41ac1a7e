//! Building new generations and putting them in the place of the live tables.

use std::time::Duration;

use projections::{LogPosition, Projection, checkpoints, retention};
use sqlx::{Connection, Executor, PgConnection};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::record::Recorded;
use super::shadow_tables::{Connections, Generation, ShadowTables, lock};
use super::swap::is_about_locks;
use super::tables::Purpose;
use super::{News, RebuildFailure, live_tables, program, record, tables};
use crate::event_store::log_reader;

/// Where generations stand until they take the place of the live tables.
const SCHEMA: &str = "rebuilding";
/// How far a generation may be behind the live rows, in facts, for the rest to be folded while they wait.
const NEAR_FACTS: i64 = 1_000;
/// How long an interrupted rebuild tries to let go of checkpoints. They let go by themselves soon after.
const RELEASE_WITHIN: Duration = Duration::from_secs(1);

/// Builds new generations of `projections`, or goes on with half-built ones, and puts each in the place of
/// its live tables once it has come as far. `stop` ends this at any moment: what was not swapped is gone on
/// with by the next call, and live rows are untouched.
pub async fn rebuild(
    connections: Connections,
    projections: &[Projection],
    stop: &CancellationToken,
    report: &mut (dyn FnMut(News) + Send),
) -> Result<(), RebuildFailure> {
    let mut shadow_tables = ShadowTables::open(connections, SCHEMA, Purpose::ToServe, projections).await?;
    let ended = tokio::select! {
        () = stop.cancelled() => Err(RebuildFailure::Interrupted),
        ended = shadow_tables.rebuild(projections, report) => ended,
    };
    if matches!(ended, Err(RebuildFailure::Interrupted)) {
        let releasing = async {
            for projection in projections {
                checkpoints::release(&mut shadow_tables.reader, projection.name()).await?;
            }
            Ok::<(), sqlx::Error>(())
        };
        // A hold is short anyway.
        let _ = timeout(RELEASE_WITHIN, releasing).await;
    }
    ended
}

/// The names of the projections with a half-built generation, known to this program or not.
pub async fn half_built(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    Ok(record::list(connection).await?.into_iter().map(|recorded| recorded.projection).collect())
}

/// Drops the half-built generation of the projection called `name`; answers whether there was one.
pub async fn abandon(connection: &mut PgConnection, name: &str) -> Result<bool, RebuildFailure> {
    lock(connection).await?;
    let recorded = record::list(connection).await?;
    let Some(recorded) = recorded.into_iter().find(|recorded| recorded.projection == name) else {
        return Ok(false);
    };
    let mut transaction = connection.begin().await?;
    tables::drop(&mut transaction, SCHEMA, &recorded.tables).await?;
    record::forget(&mut transaction, name).await?;
    tables::leave(&mut transaction, SCHEMA).await?;
    transaction.commit().await?;
    Ok(true)
}

/// Whether the tables of `generation` were made like live ones of this definition.
pub(super) fn is_made_by(generation: &Generation, definition: &str) -> bool {
    generation.made_by.split_once('\n').is_some_and(|(_, of)| of == definition)
}

/// What a generation's rows are good for.
fn maker(program: &str, definition: &str) -> String {
    format!("program {program}\n{definition}")
}

impl ShadowTables {
    async fn rebuild(
        &mut self,
        projections: &[Projection],
        report: &mut (dyn FnMut(News) + Send),
    ) -> Result<(), RebuildFailure> {
        let program = program::digest().await?;
        let recorded = record::list(&mut self.reader).await?;
        let mut generations = Vec::with_capacity(projections.len());
        for projection in projections.iter().copied() {
            generations.push(self.begin(projection, &program, &recorded, report).await?);
        }
        self.catch_up(&mut generations, report).await?;
        for generation in &mut generations {
            // Most of it before there are indexes to keep.
            self.remove_returned(generation.projection).await?;
            self.complete(generation.projection, report).await?;
            self.swap_without_returned(generation, report).await?;
        }
        Ok(tables::leave(&mut self.writer, self.schema).await?)
    }

    /// Goes on with the half-built generation, if there is one that is still good, or begins one.
    async fn begin(
        &mut self,
        projection: Projection,
        program: &str,
        recorded: &[Recorded],
        report: &mut (dyn FnMut(News) + Send),
    ) -> Result<Generation, RebuildFailure> {
        let definition = live_tables::definition(&mut self.reader, projection).await?;
        let made_by = maker(program, &definition);
        let recorded = recorded.iter().find(|recorded| recorded.projection == projection.name());
        if let Some(half_built) = recorded.filter(|recorded| recorded.made_by == made_by)
            && tables::are_there(&mut self.reader, self.schema, projection).await?
        {
            report(News::Resumed(projection));
            let position = half_built.position;
            return Ok(Generation { projection, position, target: position, made_by });
        }
        let mut transaction = self.writer.begin().await?;
        if let Some(useless) = recorded {
            tables::drop(&mut transaction, self.schema, &useless.tables).await?;
            record::forget(&mut transaction, projection.name()).await?;
        }
        tables::drop(&mut transaction, self.schema, &tables::names(projection)).await?;
        tables::make(&mut transaction, self.schema, projection, self.purpose).await?;
        record::begin(&mut transaction, projection, &made_by).await?;
        transaction.commit().await?;
        report(News::Begun(projection));
        let position = LogPosition::default();
        Ok(Generation { projection, position, target: position, made_by })
    }

    /// Folds until what is missing can be folded while the live rows wait.
    pub(super) async fn catch_up(
        &mut self,
        generations: &mut [Generation],
        report: &mut (dyn FnMut(News) + Send),
    ) -> Result<(), RebuildFailure> {
        loop {
            let mut behind = 0;
            for generation in generations.iter_mut() {
                self.aim(generation).await?;
                let missing = generation.target.position - generation.position.position;
                if generation.target > generation.position {
                    behind = behind.max(missing);
                }
            }
            if behind <= NEAR_FACTS {
                return Ok(());
            }
            self.fold(generations, report).await?;
        }
    }

    /// Aims at where the live rows are. Those that have halted are no aim: the log's end is.
    async fn aim(&mut self, generation: &mut Generation) -> Result<(), sqlx::Error> {
        let live = self.checkpoint(generation.projection).await?;
        let target = match live.halted_because {
            Some(_) => log_reader::last_settled(&mut self.reader).await?,
            None => live.position,
        };
        generation.target = target.max(generation.position);
        Ok(())
    }

    /// Puts `generation` in the place of the live tables without what retention has removed from those. So
    /// it removes nothing meanwhile.
    async fn swap_without_returned(
        &mut self,
        generation: &mut Generation,
        report: &mut (dyn FnMut(News) + Send),
    ) -> Result<(), RebuildFailure> {
        let projection = generation.projection;
        match retention::pause(&mut self.reader).await {
            Err(error) if is_about_locks(&error) => {
                let obstacle = "retention is at work".to_owned();
                return Err(RebuildFailure::NoRoom { projection, obstacle });
            }
            paused => paused?,
        }
        let swapping = async {
            // What was the last to end, and to be removed, has to have ended here too.
            self.aim(generation).await?;
            self.fold(std::slice::from_mut(generation), report).await?;
            self.remove_returned(projection).await?;
            self.swap(generation, report).await
        };
        let swapped = swapping.await;
        let resumed = retention::resume(&mut self.reader).await;
        swapped?;
        Ok(resumed?)
    }

    /// Gives the tables what only readers need.
    async fn complete(
        &mut self,
        projection: Projection,
        report: &mut (dyn FnMut(News) + Send),
    ) -> Result<(), RebuildFailure> {
        report(News::Indexing(projection));
        for statement in tables::missing_indexes(&mut self.writer, self.schema, projection).await? {
            match self.writer.execute(statement.as_str()).await {
                // An index that is built without a lock is good once every older snapshot is gone.
                Err(error) if is_about_locks(&error) => {
                    let obstacle = self.name_obstacle().await?;
                    return Err(RebuildFailure::NoRoom { projection, obstacle });
                }
                built => built?,
            };
        }
        Ok(tables::vacuum(&mut self.writer, self.schema, projection).await?)
    }
}
