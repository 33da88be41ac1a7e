//! New generations of read models, folded from the log beside the live ones.
//!
//! A generation is tables like the live ones in a schema of their own, into which the projection's own code
//! folds the log: unqualified names mean that schema's tables there, so it neither reads nor writes live
//! rows. There are two uses.
//!
//! **Rebuilding** ([`rebuild()`]) puts the generation in the place of the live tables once it has come as far.
//! It is gone on with after an interruption, by the program that began it and while the tables' definition
//! is the same; otherwise it is begun anew. Nothing waits for it but the swap itself, which takes
//! milliseconds, and no answer goes backwards ([`swap`]).
//!
//! **Verifying** ([`verify()`]) compares the generation with the live rows at one place of the log, and drops
//! it.
//!
//! Both write in short transactions, which hold back no reader of the log ([`crate::event_store::mark_non_appending`]);
//! what takes long (indexes, statistics, comparing) runs without one. One of the two runs at a
//! time: a lock that ends with the session sees to it.

mod compare;
mod difference;
mod folding;
mod live_tables;
mod program;
mod record;
mod run;
mod shadow_tables;
mod swap;
mod tables;
mod verify;

use projections::{LogPosition, Projection};
use thiserror::Error;

pub use difference::{ColumnDifference, DriftedRow, RowDifference, Shown};
pub use run::{abandon, half_built, rebuild};
pub use shadow_tables::Connections;
pub use verify::{Verdict, verify};

/// How the work goes.
#[derive(Clone, Copy, Debug)]
pub enum News {
    /// A generation begins before the log's first fact.
    Begun(Projection),
    /// A half-built generation is gone on with.
    Resumed(Projection),
    /// Facts were folded.
    Folded {
        /// How many since the last news.
        facts: usize,
        reached: LogPosition,
        /// On the way to here.
        target: LogPosition,
    },
    /// Indexes are built and statistics gathered.
    Indexing(Projection),
    /// It has come as far as the live rows.
    Swapping(Projection),
    /// It serves.
    Swapped(Projection),
    /// It is compared with the live rows.
    Comparing(Projection),
}

/// Why there is no new generation.
#[derive(Debug, Error)]
pub enum RebuildFailure {
    /// The database failed.
    #[error("the database does not do its part")]
    Database(#[from] sqlx::Error),
    /// Somebody else is at it.
    #[error("another rebuild or verification is under way, in the session of PostgreSQL's process {process}")]
    UnderWay {
        /// Process id of the session's backend.
        process: i32,
    },
    /// Rights are missing.
    #[error(
        "this user may not replace the tables of {}: run this as the owner of the database",
        projection.name()
    )]
    NotAllowed { projection: Projection },
    /// Something ties the live tables to others.
    #[error("the tables of {} cannot be replaced: {}", projection.name(), obstacles.join("; "))]
    Tied { projection: Projection, obstacles: Vec<String> },
    /// A fact cannot be folded.
    #[error("{} cannot be folded from the log: {because}", projection.name())]
    SequenceGap {
        projection: Projection,
        /// Which fact, and why not.
        because: String,
    },
    /// The live tables were changed meanwhile.
    #[error(
        "the definition of the tables of {} was changed meanwhile: run this again, and it begins anew",
        projection.name()
    )]
    Redefined { projection: Projection },
    /// The swap did not come through.
    #[error(
        "{} is built but could not take its place: {obstacle}; the live rows are as they were, and the same \
         command goes on where this ended",
        projection.name()
    )]
    NoRoom {
        projection: Projection,
        /// What was in the way at last.
        obstacle: String,
    },
    /// A table without a primary key.
    #[error("the table {table} has no primary key to compare rows by")]
    Keyless { table: String },
    /// Rows do not come in the order of their keys.
    #[error("rows of {table} cannot be compared: their order is not understood")]
    Disorder { table: String },
    /// This program cannot be told from others.
    #[error("the file of this program cannot be read")]
    Program(#[source] std::io::Error),
    /// It was asked to stop.
    #[error("interrupted")]
    Interrupted,
}
