//! Applying a page where something on it does not apply.
//!
//! The ordinary way applies the page without ado. Only when that fails is it done again with a savepoint
//! around each projection, and around each fact of the one that failed, to find the fact and to keep
//! everything else.

use projections::checkpoints::Move;
use projections::{ApplyFailure, LogPosition, LoggedFact, Projection};
use sqlx::{Connection, PgConnection};

use super::page::{Page, describe};

/// Where a projection is after a page.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) projection: Projection,
    pub(crate) reached: LogPosition,
    pub(crate) halted_because: Option<String>,
}

impl Outcome {
    pub(crate) fn as_move(&self) -> Move {
        Move { reader: self.projection.name(), to: self.reached, halted_because: self.halted_because.clone() }
    }
}

/// Why a page was not applied.
#[derive(Debug)]
pub(crate) enum Unapplied {
    /// The world broke; the page may be tried again.
    Failure(sqlx::Error),
    /// Some fact does not apply.
    Fact,
}

/// SQLSTATE classes that say nothing about a fact: connection, rollback for concurrency, resources, the
/// state of objects and of the server, the operator, the system.
const PASSING_CLASSES: [&str; 8] = ["08", "25", "40", "53", "55", "57", "58", "XX"];

impl From<ApplyFailure> for Unapplied {
    fn from(failure: ApplyFailure) -> Self {
        match failure {
            ApplyFailure::SequenceGap(_) => Self::Fact,
            ApplyFailure::Database(error) if is_passing(&error) => Self::Failure(error),
            ApplyFailure::Database(_) => Self::Fact,
        }
    }
}

/// Whether the same statement may well succeed later.
fn is_passing(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => {
            error.code().is_none_or(|code| PASSING_CLASSES.iter().any(|class| code.starts_with(class)))
        }
        sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::Encode(_)
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::TypeNotFound { .. } => false,
        _ => true,
    }
}

/// Applies a page to a cohort, all of it to all.
pub(crate) async fn apply_all(
    connection: &mut PgConnection,
    cohort: &[Projection],
    page: &Page,
) -> Result<Vec<Outcome>, Unapplied> {
    let mut outcomes = Vec::with_capacity(cohort.len());
    for projection in cohort {
        let portion = page.portion(*projection);
        if portion.stopped_by.is_some() {
            return Err(Unapplied::Fact);
        }
        projection.apply(connection, portion.facts).await?;
        if let Some(reached) = page.last() {
            outcomes.push(Outcome { projection: *projection, reached, halted_because: None });
        }
    }
    Ok(outcomes)
}

/// Applies a page to a cohort that stands at `from`, and halts each projection at the first fact that
/// does not apply to it.
pub(crate) async fn apply_what_can_be(
    connection: &mut PgConnection,
    cohort: &[Projection],
    from: LogPosition,
    page: &Page,
) -> Result<Vec<Outcome>, sqlx::Error> {
    let mut outcomes = Vec::with_capacity(cohort.len());
    for projection in cohort {
        let portion = page.portion(*projection);
        let stop = match first_misfit(connection, *projection, portion.facts).await? {
            Some((fact, because)) => Some((fact.position, because)),
            None => portion.stopped_by.map(|row| (row.position, describe(row))),
        };
        let (reached, halted_because) = match stop {
            Some((position, because)) => (page.before(position).unwrap_or(from), Some(because)),
            None => (page.last().unwrap_or(from), None),
        };
        outcomes.push(Outcome { projection: *projection, reached, halted_because });
    }
    Ok(outcomes)
}

/// Applies `facts` up to the first that does not apply, and answers with that and its reason.
async fn first_misfit<'a>(
    connection: &mut PgConnection,
    projection: Projection,
    facts: &'a [LoggedFact],
) -> Result<Option<(&'a LoggedFact, String)>, sqlx::Error> {
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
    // Each fact applies by itself, so all of them are applied now.
    Ok(None)
}

/// Applies `facts` within a savepoint; what does not apply leaves nothing behind.
async fn attempt(
    connection: &mut PgConnection,
    projection: Projection,
    facts: &[LoggedFact],
) -> Result<Option<ApplyFailure>, sqlx::Error> {
    let mut savepoint = connection.begin().await?;
    match projection.apply(&mut savepoint, facts).await {
        Ok(()) => {
            savepoint.commit().await?;
            Ok(None)
        }
        Err(ApplyFailure::Database(error)) if is_passing(&error) => Err(error),
        Err(failure) => {
            savepoint.rollback().await?;
            Ok(Some(failure))
        }
    }
}
