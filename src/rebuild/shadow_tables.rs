//! Two sessions: one writes generations, one looks at the log and at the live side.

use projections::checkpoints::{self, Checkpoint};
use projections::{LogPosition, Projection};
use sqlx::PgConnection;

use super::tables::{self, Purpose};
use super::{RebuildFailure, live_tables};

/// Facts in one transaction at first.
const PAGE_FACTS_FIRST: i64 = 1_000;

/// Sessions of a user who owns the tables, without limits on statements.
#[derive(Debug)]
pub struct Connections {
    pub writer: PgConnection,
    /// Reads the log, holds checkpoints, and has the lock.
    pub reader: PgConnection,
}

/// Where generations are made.
#[derive(Debug)]
pub(super) struct ShadowTables {
    pub(super) writer: PgConnection,
    pub(super) reader: PgConnection,
    pub(super) schema: &'static str,
    pub(super) purpose: Purpose,
    /// Facts in one transaction.
    pub(super) page_facts: i64,
}

/// A projection's rows beside the live ones.
#[derive(Clone, Debug)]
pub(super) struct Generation {
    pub(super) projection: Projection,
    /// Everything up to here is in them.
    pub(super) position: LogPosition,
    /// How far they are to come.
    pub(super) target: LogPosition,
    /// What they are good for.
    pub(super) made_by: String,
}

impl ShadowTables {
    /// Takes the lock, and checks that generations of `projections` can be made.
    pub(super) async fn open(
        connections: Connections,
        schema: &'static str,
        purpose: Purpose,
        projections: &[Projection],
    ) -> Result<Self, RebuildFailure> {
        let Connections { mut writer, mut reader } = connections;
        lock(&mut reader).await?;
        for projection in projections.iter().copied() {
            let obstacles = live_tables::obstacles(&mut reader, projection).await?;
            // What is only compared need not be free to go.
            let stands_in_the_way =
                |obstacle: &String| purpose == Purpose::ToServe || obstacle.starts_with("there is no table");
            if obstacles.iter().any(stands_in_the_way) {
                return Err(RebuildFailure::Tied { projection, obstacles });
            }
            if !live_tables::may_replace(&mut reader, projection).await? {
                return Err(RebuildFailure::NotAllowed { projection });
            }
        }
        settle_in(&mut writer).await?;
        tables::enter(&mut writer, schema, projections).await?;
        // A checkpoint is locked for a moment only, by the projector that moves it.
        sqlx::query!("SELECT set_config('lock_timeout', '5s', false) AS wait").fetch_one(&mut reader).await?;
        Ok(Self { writer, reader, schema, purpose, page_facts: PAGE_FACTS_FIRST })
    }

    /// The checkpoints of the live rows. One that is not there is at the log's beginning.
    pub(super) async fn checkpoint(&mut self, projection: Projection) -> Result<Checkpoint, sqlx::Error> {
        checkpoint(&mut self.reader, projection).await
    }

    /// Removes from a generation what retention has removed from the live rows.
    pub(super) async fn remove_returned(&mut self, projection: Projection) -> Result<(), sqlx::Error> {
        projection.remove_returned(&mut self.writer, &mut self.reader).await?;
        Ok(())
    }
}

/// The checkpoint of the live rows. A reader that has not begun is at the log's beginning.
pub(super) async fn checkpoint(
    connection: &mut PgConnection,
    projection: Projection,
) -> Result<Checkpoint, sqlx::Error> {
    let loaded = checkpoints::load(connection, &[projection.name()]).await?.pop();
    Ok(loaded.unwrap_or_else(|| Checkpoint {
        reader: projection.name().to_owned(),
        position: LogPosition::default(),
        halted_because: None,
        held: false,
    }))
}

/// Refuses to go on beside somebody else. The lock ends with the session.
pub(super) async fn lock(connection: &mut PgConnection) -> Result<(), RebuildFailure> {
    let is_ours = sqlx::query_scalar!(
        r#"SELECT pg_try_advisory_lock(hashtext('hooksentry.generations'), 0) AS "ours!""#
    )
    .fetch_one(&mut *connection)
    .await?;
    if is_ours {
        return Ok(());
    }
    let process = sqlx::query_scalar!(
        r#"
        SELECT pid AS "pid!"
        FROM pg_locks
        WHERE locktype = 'advisory'
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND classid = (hashtext('hooksentry.generations')::bigint & 4294967295)::oid
          AND objid = 0
          AND granted
        "#
    )
    .fetch_optional(connection)
    .await?;
    Err(RebuildFailure::UnderWay { process: process.unwrap_or_default() })
}

/// Makes a session one that folds much and keeps nobody waiting.
async fn settle_in(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        SELECT
            -- Rows and the generation's own place are lost together, and folded again.
            set_config('synchronous_commit', 'off', false) AS commit,
            set_config('work_mem', '64MB', false) AS work,
            set_config('maintenance_work_mem', '256MB', false) AS maintenance,
            set_config('idle_in_transaction_session_timeout', '60s', false) AS idle,
            set_config('lock_timeout', '60s', false) AS wait,
            -- Rows are looked up by their keys. Plans that scan a table while it is small would be kept while
            -- it grows.
            set_config('enable_seqscan', 'off', false) AS scans,
            set_config('client_min_messages', 'warning', false) AS messages,
            set_config('TimeZone', 'UTC', false) AS zone
        "#
    )
    .fetch_one(&mut *connection)
    .await?;
    // Should this process die, the server ends what it does for it, and frees the lock. Not every system
    // can tell.
    let _ = sqlx::query!("SELECT set_config('client_connection_check_interval', '1s', false) AS alive")
        .fetch_one(connection)
        .await;
    Ok(())
}
