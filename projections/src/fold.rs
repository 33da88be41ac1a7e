//! Folding a batch of facts into rows.
//!
//! The rows that a batch touches are loaded at once, folded in memory, and written back at once, however
//! many facts each of them took. A row keeps the version of the stream it shows: facts at or below it
//! were folded before and are passed over, the next one is folded, and a gap is a misfit, because a row
//! folded over a gap would be wrong for ever and nobody would know.

use std::collections::{BTreeSet, HashMap};

use aggregates::fact::Fact;
use thiserror::Error;
use uuid::Uuid;

use crate::logged_fact::{LogPosition, LoggedFact};

/// Why a batch could not be applied.
#[derive(Debug, Error)]
pub enum ApplyFailure {
    /// A fact does not follow from the rows.
    #[error(transparent)]
    SequenceGap(#[from] SequenceGap),
    /// The database did not do it.
    #[error("the rows cannot be read or written")]
    Database(#[from] sqlx::Error),
}

/// A fact whose predecessors are not in the rows.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "version {sequence} of {stream_id}, at {position:?}, does not follow the row's version {row_version:?}"
)]
pub struct SequenceGap {
    /// Where the fact stands in the log.
    pub position: LogPosition,
    pub stream_id: Uuid,
    pub sequence: u64,
    /// The version of the row; `None`: there is no row.
    pub row_version: Option<i64>,
}

/// Why a stream does not show what it is about.
#[derive(Debug, Error)]
pub enum NotFolded {
    /// A fact is missing.
    #[error(transparent)]
    SequenceGap(#[from] SequenceGap),
    /// A value means nothing.
    #[error("what the stream shows cannot be read")]
    Unreadable(#[from] sqlx::Error),
}

impl SequenceGap {
    pub(crate) fn of(logged: &LoggedFact, row_version: Option<i64>) -> Self {
        Self {
            position: logged.position,
            stream_id: logged.stream_id,
            sequence: logged.sequence,
            row_version,
        }
    }
}

/// A row that shows one stream.
pub(crate) trait StreamRow: Sized {
    /// The facts of its aggregate.
    type Fact;

    /// The fact, if it is of its aggregate.
    fn pick(fact: &Fact) -> Option<&Self::Fact>;
    /// The row that the stream's first fact makes.
    fn begin(logged: &LoggedFact, fact: &Self::Fact) -> Option<Self>;
    /// The row after one more fact.
    fn follow(&mut self, fact: &Self::Fact);
    /// Its stream.
    fn stream_id(&self) -> Uuid;
    /// The version it shows.
    fn version(&mut self) -> &mut i64;
}

/// The streams of `R`'s aggregate in a batch, in an order that two writers share.
pub(crate) fn streams_of<R: StreamRow>(facts: &[LoggedFact]) -> Vec<Uuid> {
    let streams: BTreeSet<Uuid> = facts
        .iter()
        .filter(|logged| R::pick(&logged.fact).is_some())
        .map(|logged| logged.stream_id)
        .collect();
    streams.into_iter().collect()
}

/// The rows that a batch changes, as they are after it. `loaded` are the rows of its streams before it.
pub(crate) fn fold<R: StreamRow>(loaded: Vec<R>, facts: &[LoggedFact]) -> Result<Vec<R>, SequenceGap> {
    struct Folded<R> {
        row: R,
        changed: bool,
    }
    let mut rows: HashMap<Uuid, Folded<R>> =
        loaded.into_iter().map(|row| (row.stream_id(), Folded { row, changed: false })).collect();
    for logged in facts {
        let Some(fact) = R::pick(&logged.fact) else { continue };
        let sequence = sequence_of(logged);
        if let Some(Folded { row, changed }) = rows.get_mut(&logged.stream_id) {
            let version = *row.version();
            if sequence <= version {
                continue;
            }
            if sequence != version + 1 {
                return Err(SequenceGap::of(logged, Some(version)));
            }
            row.follow(fact);
            *row.version() = sequence;
            *changed = true;
        } else {
            let row = if sequence == 1 { R::begin(logged, fact) } else { None };
            let row = row.ok_or_else(|| SequenceGap::of(logged, None))?;
            rows.insert(logged.stream_id, Folded { row, changed: true });
        }
    }
    let mut changed: Vec<R> =
        rows.into_values().filter(|folded| folded.changed).map(|folded| folded.row).collect();
    changed.sort_unstable_by_key(StreamRow::stream_id);
    Ok(changed)
}

/// What one stream shows; `None` when it has no facts.
pub(crate) fn fold_stream<R, T>(facts: &[LoggedFact]) -> Result<Option<T>, NotFolded>
where
    R: StreamRow,
    T: TryFrom<R, Error = sqlx::Error>,
{
    let folded = fold::<R>(vec![], facts)?.pop();
    Ok(folded.map(T::try_from).transpose()?)
}

/// A fact's version, as columns hold it.
pub(crate) fn sequence_of(logged: &LoggedFact) -> i64 {
    i64::try_from(logged.sequence).unwrap_or(i64::MAX)
}
