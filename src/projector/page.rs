//! A page of the log, parsed once for all projections.

use std::error::Error as _;

use aggregates::fact::Fact;
use chrono::{DateTime, Utc};
use projections::logged_fact::UnreadableRow;
use projections::quarantine::Quarantine;
use projections::{LogPosition, LogRow, LoggedFact, Projection};

/// Consecutive facts of the log.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// The position of every row, readable or not.
    positions: Vec<LogPosition>,
    facts: Vec<LoggedFact>,
    unreadable: Vec<UnreadableRow>,
}

/// The facts of a page that a projection can fold.
#[derive(Debug)]
pub(crate) struct Readable<'a> {
    pub(crate) facts: &'a [LoggedFact],
    /// The fact after them, if it is unreadable and the projection must fold it.
    pub(crate) followed_by: Option<&'a UnreadableRow>,
}

impl Page {
    pub(crate) fn parse(rows: Vec<LogRow>) -> Self {
        let mut page = Self { positions: Vec::with_capacity(rows.len()), ..Self::default() };
        for row in rows {
            page.positions.push(row.log_position());
            match LoggedFact::try_from(row) {
                Ok(fact) => page.facts.push(fact),
                Err(unreadable) => page.unreadable.push(unreadable),
            }
        }
        page
    }

    /// Removes the facts that follow a gap of their stream.
    pub(crate) fn skip(&mut self, quarantine: &Quarantine) {
        self.facts.retain(|logged| !quarantine.skips(logged));
    }

    /// Returns the facts that can be read.
    pub(crate) fn facts(&self) -> &[LoggedFact] {
        &self.facts
    }

    /// Returns the number of rows.
    pub(crate) fn len(&self) -> usize {
        self.positions.len()
    }

    /// Returns the position of the last row.
    pub(crate) fn last(&self) -> Option<LogPosition> {
        self.positions.last().copied()
    }

    /// Returns when the last of its facts was recorded.
    pub(super) fn recorded_until(&self) -> Option<DateTime<Utc>> {
        self.facts.last().map(|logged| logged.recorded_at)
    }

    /// Returns the position before `position`, if that is on this page too.
    pub(crate) fn before(&self, position: LogPosition) -> Option<LogPosition> {
        let index = self.positions.partition_point(|other| *other < position);
        index.checked_sub(1).map(|before| self.positions[before])
    }

    /// Returns the facts that `projection` can fold: all, or those before the first that is unreadable and that it
    /// must fold.
    pub(crate) fn readable_for(&self, projection: Projection) -> Readable<'_> {
        let followed_by = self.unreadable.iter().find(|row| projection.folds(&row.aggregate_type));
        let end = followed_by
            .map_or(self.facts.len(), |row| self.facts.partition_point(|fact| fact.position < row.position));
        Readable { facts: &self.facts[..end], followed_by }
    }

    /// Whether it has facts of webhook events only: none of settings, users or credentials.
    pub(crate) fn is_deliveries_only(&self) -> bool {
        self.facts.iter().all(|logged| matches!(logged.fact, Fact::WebhookEvent(_)))
    }
}

/// Describes an unreadable fact and its error, with the error's sources.
pub(crate) fn describe(row: &UnreadableRow) -> String {
    let mut text = row.to_string();
    let mut source = row.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
