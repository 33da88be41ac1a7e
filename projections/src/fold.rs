//! Folding a batch of facts into rows.
//!
//! The rows of a batch are loaded with one statement, folded in memory, and stored with one statement,
//! however many facts change each of them. A row has the version of the stream that it shows. Facts up to
//! that version were folded before and are skipped; the next one is folded. Any other is an error
//! ([`SequenceGap`]): a row folded over a gap would stay wrong without notice.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;

use aggregates::fact::Fact;
use thiserror::Error;
use uuid::Uuid;

use crate::logged_fact::{LogPosition, LoggedFact};

/// Why a batch could not be applied.
#[derive(Debug, Error)]
pub enum ApplyFailure {
    #[error(transparent)]
    SequenceGap(#[from] SequenceGap),
    #[error("the rows cannot be read or written")]
    Database(#[from] sqlx::Error),
    /// Another transaction changed the rows between reading and writing them. The same facts may be applied later.
    #[error("the rows were changed by another transaction")]
    ConcurrentChange,
}

/// A fact whose predecessors are missing from the rows.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "version {sequence} of {stream_id}, at {position:?}, does not follow the row's version {row_version:?}"
)]
pub struct SequenceGap {
    pub position: LogPosition,
    pub stream_id: Uuid,
    pub sequence: u64,
    /// `None`: there is no row.
    pub row_version: Option<i64>,
}

/// Why a stream could not be folded.
#[derive(Debug, Error)]
pub enum NotFolded {
    #[error(transparent)]
    SequenceGap(#[from] SequenceGap),
    #[error("the state that the stream results in cannot be converted")]
    Unreadable(#[from] sqlx::Error),
}

impl From<Infallible> for NotFolded {
    fn from(never: Infallible) -> Self {
        match never {}
    }
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

/// The facts of one aggregate.
pub(crate) trait AggregateFact: Sized {
    /// Type of the aggregate, as the log stores it.
    const AGGREGATE: &'static str;

    /// Returns the fact if it is of this aggregate.
    fn of(fact: &Fact) -> Option<&Self>;
}

macro_rules! aggregate_facts {
    ($($aggregate:ident $module:ident::$fact:ident),+ $(,)?) => {
        $(impl AggregateFact for aggregates::$module::$fact {
            const AGGREGATE: &'static str = stringify!($aggregate);

            fn of(fact: &Fact) -> Option<&Self> {
                if let Fact::$aggregate(fact) = fact { Some(fact) } else { None }
            }
        })+
    };
}
aggregate_facts! {
    ApiKey api_key::ApiKeyFact,
    Destination destination::DestinationFact,
    Invite invite::InviteFact,
    PortalLink portal_link::PortalLinkFact,
    Sender sender::SenderFact,
    Session session::SessionFact,
    Tenant tenant::TenantFact,
    User user::UserFact,
    WebhookEvent webhook_event::WebhookEventFact,
}

/// A row with the state of one stream.
pub(crate) trait VersionedRow {
    fn stream_id(&self) -> Uuid;
    /// Version of the stream that the row shows.
    fn version(&mut self) -> &mut i64;
}

/// A row that the facts of one stream change.
pub(crate) trait StreamRow: VersionedRow + Sized {
    type Fact: AggregateFact;

    /// Returns the row after the first fact of the stream; `None`: no stream begins with this fact.
    fn begin(logged: &LoggedFact, fact: &Self::Fact) -> Option<Self>;
    /// Changes the row as a later fact does. The version is still that before the fact.
    fn follow(&mut self, fact: &Self::Fact);
}

/// Returns the streams of `R`'s aggregate in a batch, ordered, so that two writers lock in the same order.
pub(crate) fn streams_of<R: StreamRow>(facts: &[LoggedFact]) -> Vec<Uuid> {
    let streams: BTreeSet<Uuid> = facts
        .iter()
        .filter(|logged| R::Fact::of(&logged.fact).is_some())
        .map(|logged| logged.stream_id)
        .collect();
    streams.into_iter().collect()
}

/// Folds a batch and returns the rows that it changes. `loaded` are the rows of its streams before it.
pub(crate) fn fold<R: StreamRow>(loaded: Vec<R>, facts: &[LoggedFact]) -> Result<Vec<R>, SequenceGap> {
    struct Folded<R> {
        row: R,
        changed: bool,
    }
    let mut rows: HashMap<Uuid, Folded<R>> =
        loaded.into_iter().map(|row| (row.stream_id(), Folded { row, changed: false })).collect();
    for logged in facts {
        let Some(fact) = R::Fact::of(&logged.fact) else { continue };
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
    changed.sort_unstable_by_key(VersionedRow::stream_id);
    Ok(changed)
}

/// Folds one stream; `None`: it has no facts.
pub(crate) fn fold_stream<R, T>(facts: &[LoggedFact]) -> Result<Option<T>, NotFolded>
where
    R: StreamRow,
    T: TryFrom<R>,
    NotFolded: From<T::Error>,
{
    let folded = fold::<R>(vec![], facts)?.pop();
    Ok(folded.map(T::try_from).transpose()?)
}

/// Returns the version of a fact as columns hold it.
pub(crate) fn sequence_of(logged: &LoggedFact) -> i64 {
    i64::try_from(logged.sequence).unwrap_or(i64::MAX)
}
