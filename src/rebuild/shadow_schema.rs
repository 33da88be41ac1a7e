//! The two sessions of a rebuild or a verification: one writes shadow tables, one reads the log and the live side.

use projections::checkpoints::{self, Checkpoint};
use projections::quarantine::Quarantine;
use projections::{LogPosition, Projection};
use sqlx::PgConnection;

use super::ddl::{self, ShadowKind};
use super::{RebuildFailure, live_tables};

/// Facts in the first transaction.
const PAGE_FACTS_FIRST: i64 = 1_000;

/// Two sessions of a user who owns the tables, without time limits on statements.
#[derive(Debug)]
pub struct Sessions {
    /// Writes shadow tables.
    pub writer: PgConnection,
    /// Reads the log, holds checkpoints, and holds the lock that excludes other rebuilds.
    pub reader: PgConnection,
}

/// A schema of shadow tables, and the sessions that work on it.
#[derive(Debug)]
pub(super) struct ShadowSchema {
    pub(super) name: &'static str,
    pub(super) kind: ShadowKind,
    pub(super) writer: PgConnection,
    pub(super) reader: PgConnection,
    pub(super) quarantine: Quarantine,
    /// Facts in the next transaction.
    pub(super) page_facts: i64,
}

/// The shadow tables of one projection.
#[derive(Clone, Debug)]
pub(super) struct ShadowTables {
    pub(super) projection: Projection,
    /// The last fact that is folded.
    pub(super) position: LogPosition,
    /// The position up to which the log is to be folded.
    pub(super) target: LogPosition,
    /// Digest of the program that folds them.
    program: String,
    /// Definition of the live tables after which they were created.
    pub(super) definition: String,
}

impl ShadowTables {
    /// Creates a description of empty tables.
    pub(super) fn new(projection: Projection, program: &str, definition: String) -> Self {
        let start = LogPosition::default();
        Self { projection, position: start, target: start, program: program.to_owned(), definition }
    }

    /// Returns the text that identifies valid rows: tables with another text are created again.
    pub(super) fn made_by(&self) -> String {
        format!("program {}\n{}", self.program, self.definition)
    }
}

impl ShadowSchema {
    /// Takes the lock, and checks that shadow tables of `projections` can be created.
    pub(super) async fn open(
        sessions: Sessions,
        name: &'static str,
        kind: ShadowKind,
        projections: &[Projection],
    ) -> Result<Self, RebuildFailure> {
        let Sessions { mut writer, mut reader } = sessions;
        lock(&mut reader).await?;
        for projection in projections.iter().copied() {
            let obstacles = live_tables::obstacles(&mut reader, projection).await?;
            // Dependent objects do not matter to a comparison.
            let is_obstacle = |obstacle: &String| {
                kind == ShadowKind::Replacement || obstacle.starts_with("there is no table")
            };
            if obstacles.iter().any(is_obstacle) {
                return Err(RebuildFailure::HasDependents { projection, obstacles });
            }
            if !live_tables::may_replace(&mut reader, projection).await? {
                return Err(RebuildFailure::InsufficientPrivilege { projection });
            }
        }
        configure_writer(&mut writer).await?;
        ddl::enter_schema(&mut writer, name, projections).await?;
        // The projector locks a checkpoint only for the moment of a move.
        sqlx::query!("SELECT set_config('lock_timeout', '5s', false) AS wait").fetch_one(&mut reader).await?;
        let quarantine = Quarantine::load(&mut reader).await?;
        Ok(Self { name, kind, writer, reader, quarantine, page_facts: PAGE_FACTS_FIRST })
    }

    /// Returns the checkpoint of the live rows.
    pub(super) async fn checkpoint(&mut self, projection: Projection) -> Result<Checkpoint, sqlx::Error> {
        checkpoint(&mut self.reader, projection).await
    }

    /// Removes from the shadow tables what retention has removed from the live rows.
    pub(super) async fn remove_returned(&mut self, projection: Projection) -> Result<(), sqlx::Error> {
        projection.remove_returned(&mut self.writer, &mut self.reader).await?;
        Ok(())
    }
}

/// Returns the checkpoint of the live rows; the log's start, if the projection has none yet.
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

/// Takes the lock that excludes other rebuilds and verifications, until the session ends.
pub(super) async fn lock(connection: &mut PgConnection) -> Result<(), RebuildFailure> {
    let is_ours =
        sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock(hashtext('hooksentry.rebuild'), 0) AS "ours!""#)
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
          AND classid = (hashtext('hooksentry.rebuild')::bigint & 4294967295)::oid
          AND objid = 0
          AND granted
        "#
    )
    .fetch_optional(connection)
    .await?;
    // 0: the other session has just ended.
    Err(RebuildFailure::AlreadyRunning { process: process.unwrap_or_default() })
}

/// Configures the session that folds.
async fn configure_writer(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        SELECT
            -- A crash loses rows together with the recorded position, and they are folded again.
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
    // With this the server notices that this process has died, ends its statement and frees the lock. Some operating
    // systems do not support the setting.
    let _ = sqlx::query!("SELECT set_config('client_connection_check_interval', '1s', false) AS alive")
        .fetch_one(connection)
        .await;
    Ok(())
}
