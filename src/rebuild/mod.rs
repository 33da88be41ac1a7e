//! Rebuilding read models from the log, and verifying them against it, while the service runs.
//!
//! Both fold the log into **shadow tables**: tables like the live ones in a schema of their own. The projection's own
//! code folds them; in a session whose search path is that schema, unqualified names mean its tables, so live rows
//! are neither read nor written.
//!
//! **Rebuilding** ([`rebuild()`]) replaces the live tables with the shadow tables once those have reached the same
//! position of the log. After an interruption the same program resumes an unfinished rebuild, as long as the
//! definition of the tables is the same; otherwise it starts over. Only the swap makes others wait, for milliseconds,
//! and no answer goes backwards ([`swap`]).
//!
//! **Verifying** ([`verify()`]) compares the shadow tables with the live rows at one position of the log, and drops
//! them.
//!
//! Both write in short transactions, which hold back no reader of the log
//! ([`crate::event_store::mark_non_appending`]); what takes long (indexes, statistics, comparing) runs without one.
//! A session-level lock ensures that one of the two runs at a time.

mod blockers;
mod compare;
mod ddl;
mod drift;
mod folding;
mod live_tables;
mod program;
mod record;
mod run;
mod shadow_schema;
mod swap;
mod verify;

use projections::{ApplyFailure, LogPosition, Projection};
use thiserror::Error;

pub use drift::{ColumnDrift, DisplayedValue, Drift, DriftedRow};
pub use run::{discard, rebuild, unfinished};
pub use shadow_schema::Sessions;
pub use verify::{DriftReport, verify};

/// A report of progress.
#[derive(Clone, Copy, Debug)]
pub enum Progress {
    /// Folding starts before the log's first fact.
    Started(Projection),
    /// An unfinished rebuild is resumed.
    Resumed(Projection),
    Folded {
        /// Facts folded since the last report.
        facts: usize,
        reached: LogPosition,
        /// The position up to which the log is folded.
        target: LogPosition,
    },
    /// Indexes are built and statistics gathered.
    Indexing(Projection),
    /// The live tables are about to be replaced.
    Swapping(Projection),
    /// The live tables were replaced.
    Swapped(Projection),
    /// The shadow tables are compared with the live ones.
    Comparing(Projection),
}

/// Why a read model was not rebuilt or verified.
#[derive(Debug, Error)]
pub enum RebuildFailure {
    #[error("database error")]
    Database(#[from] sqlx::Error),
    #[error("the rebuilt tables cannot be written")]
    Page(#[source] ApplyFailure),
    #[error("another rebuild or verification is running, in the session of PostgreSQL's process {process}")]
    AlreadyRunning {
        /// Process id of the session's backend.
        process: i32,
    },
    #[error(
        "this user may not replace the tables of {}: run this as the owner of the database",
        projection.name()
    )]
    InsufficientPrivilege { projection: Projection },
    /// Other objects depend on the live tables.
    #[error("the tables of {} cannot be replaced: {}", projection.name(), obstacles.join("; "))]
    HasDependents { projection: Projection, obstacles: Vec<String> },
    /// A fact does not apply.
    #[error("{} cannot be folded from the log: {because}", projection.name())]
    NotFoldable {
        projection: Projection,
        /// Which fact, and why it does not apply.
        because: String,
    },
    /// The live tables were altered during the rebuild.
    #[error(
        "the definition of the tables of {} has changed: run the same command again to start over",
        projection.name()
    )]
    DefinitionChanged { projection: Projection },
    #[error(
        "{} is rebuilt but could not replace the live tables: {obstacle}; the live rows are unchanged, and the \
         same command resumes the rebuild",
        projection.name()
    )]
    SwapBlocked {
        projection: Projection,
        /// What blocked the last attempt.
        obstacle: String,
    },
    #[error("the table {table} has no primary key to compare rows by")]
    NoPrimaryKey { table: String },
    /// Rows do not arrive in the order that this program expects of their keys.
    #[error("rows of {table} cannot be compared: their keys are not in the expected order")]
    UnexpectedOrder { table: String },
    /// The digest that identifies this program cannot be computed.
    #[error("the file of this program cannot be read")]
    Program(#[source] std::io::Error),
    /// The command was asked to stop.
    #[error("interrupted")]
    Interrupted,
}

impl From<ApplyFailure> for RebuildFailure {
    fn from(failure: ApplyFailure) -> Self {
        match failure {
            ApplyFailure::Database(error) => Self::Database(error),
            failure => Self::Page(failure),
        }
    }
}
