//! Applying a page of the log to projections.
//!
//! [`apply_all`] applies the whole page to every projection. When that fails, [`apply_until_failure`] applies it
//! again with a savepoint around each projection, and around each fact of the one that failed, to find the fact
//! and to keep everything else.

use projections::checkpoints::Move;
use projections::{ApplyFailure, LogPosition, LoggedFact, Projection};
use sqlx::{Connection, PgConnection};

use super::page::{Page, describe};

/// Progress of a projection after a page.
#[derive(Clone, Debug)]
pub(crate) struct Applied {
    pub(crate) projection: Projection,
    /// The last fact that was applied.
    pub(crate) reached: LogPosition,
    /// Why the fact after `reached` does not apply; `None`: the whole page was applied.
    pub(crate) halted_because: Option<String>,
}

impl Applied {
    pub(crate) fn as_move(&self) -> Move {
        Move { reader: self.projection.name(), to: self.reached, halted_because: self.halted_because.clone() }
    }
}

/// Why a page was not applied.
#[derive(Debug)]
pub(crate) enum NotApplied {
    /// The same page may be applied later.
    Transient(ApplyFailure),
    /// The rows lack the predecessor of a fact. Either they are wrong, or the log has a gap.
    Gap,
    /// Some fact does not apply for another reason.
    Fact,
}

/// SQLSTATE classes that do not depend on the fact: connection, transaction rollback, missing objects and rights (a
/// migration of another version), resources, object state, operator intervention, system.
const TRANSIENT_CLASSES: [&str; 9] = ["08", "25", "40", "42", "53", "55", "57", "58", "XX"];

impl From<ApplyFailure> for NotApplied {
    fn from(failure: ApplyFailure) -> Self {
        match failure {
            ApplyFailure::SequenceGap(_) => Self::Gap,
            failure if is_transient(&failure) => Self::Transient(failure),
            _ => Self::Fact,
        }
    }
}

/// Whether the same facts may be applied later.
fn is_transient(failure: &ApplyFailure) -> bool {
    let error = match failure {
        ApplyFailure::SequenceGap(_) => return false,
        ApplyFailure::ConcurrentChange => return true,
        ApplyFailure::Database(error) => error,
    };
    match error {
        sqlx::Error::Database(error) => {
            error.code().is_none_or(|code| TRANSIENT_CLASSES.iter().any(|class| code.starts_with(class)))
        }
        sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::Encode(_)
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::TypeNotFound { .. } => false,
        _ => true,
    }
}

/// Applies the whole page to every projection of a cohort.
///
/// # Errors
///
/// When the database fails, or a fact does not apply. The transaction must then be rolled back.
pub(crate) async fn apply_all(
    connection: &mut PgConnection,
    cohort: &[Projection],
    page: &Page,
) -> Result<Vec<Applied>, NotApplied> {
    let mut applied = Vec::with_capacity(cohort.len());
    for projection in cohort {
        let readable = page.readable_for(*projection);
        if readable.followed_by.is_some() {
            return Err(NotApplied::Fact);
        }
        projection.apply(connection, readable.facts).await?;
        if let Some(reached) = page.last() {
            applied.push(Applied { projection: *projection, reached, halted_because: None });
        }
    }
    Ok(applied)
}

/// Applies a page to a cohort whose position is `from`, to each projection up to the first fact that does not
/// apply to it.
///
/// # Errors
///
/// When the database fails.
pub(crate) async fn apply_until_failure(
    connection: &mut PgConnection,
    cohort: &[Projection],
    from: LogPosition,
    page: &Page,
) -> Result<Vec<Applied>, ApplyFailure> {
    let mut applied = Vec::with_capacity(cohort.len());
    for projection in cohort {
        let readable = page.readable_for(*projection);
        let stop = match first_failure(connection, *projection, readable.facts).await? {
            Some((fact, because)) => Some((fact.position, because)),
            None => readable.followed_by.map(|row| (row.position, describe(row))),
        };
        let (reached, halted_because) = match stop {
            Some((position, because)) => (page.before(position).unwrap_or(from), Some(because)),
            None => (page.last().unwrap_or(from), None),
        };
        applied.push(Applied { projection: *projection, reached, halted_because });
    }
    Ok(applied)
}

/// Applies `facts` up to the first that does not apply. Returns that fact and the reason.
async fn first_failure<'a>(
    connection: &mut PgConnection,
    projection: Projection,
    facts: &'a [LoggedFact],
) -> Result<Option<(&'a LoggedFact, String)>, ApplyFailure> {
    if attempt(connection, projection, facts).await?.is_none() {
        return Ok(None);
    }
    for fact in facts {
        if let Some(failure) = attempt(connection, projection, std::slice::from_ref(fact)).await? {
            let because = format!(
                "version {} of the stream {} (transaction {}, position {}) does not apply: {:#}",
                fact.sequence,
                fact.stream_id,
                fact.position.transaction_id,
                fact.position.position,
                anyhow::Error::from(failure),
            );
            return Ok(Some((fact, because)));
        }
    }
    // Each fact applied by itself, so all of them are applied now.
    Ok(None)
}

/// Applies `facts` within a savepoint, which is rolled back if they do not apply.
async fn attempt(
    connection: &mut PgConnection,
    projection: Projection,
    facts: &[LoggedFact],
) -> Result<Option<ApplyFailure>, ApplyFailure> {
    let mut savepoint = connection.begin().await?;
    match projection.apply(&mut savepoint, facts).await {
        Ok(()) => {
            savepoint.commit().await?;
            Ok(None)
        }
        Err(failure) if is_transient(&failure) => Err(failure),
        Err(failure) => {
            savepoint.rollback().await?;
            Ok(Some(failure))
        }
    }
}
