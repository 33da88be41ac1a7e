//! A page of the log, parsed once for all projections.

use std::error::Error as _;

use aggregates::fact::Fact;
use chrono::{DateTime, Utc};
use projections::logged_fact::UnreadableRow;
use projections::{LogPosition, LogRow, LoggedFact, Projection};

/// Facts that follow one another in the log.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// The place of every row, readable or not.
    positions: Vec<LogPosition>,
    facts: Vec<LoggedFact>,
    unreadable: Vec<UnreadableRow>,
}

/// What a projection can take of a page.
#[derive(Debug)]
pub(crate) struct Portion<'a> {
    pub(crate) facts: &'a [LoggedFact],
    /// The fact that follows them and cannot be read, by a projection that must fold it.
    pub(crate) stopped_by: Option<&'a UnreadableRow>,
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

    /// How many rows it has.
    pub(crate) fn len(&self) -> usize {
        self.positions.len()
    }

    /// Its last place.
    pub(crate) fn last(&self) -> Option<LogPosition> {
        self.positions.last().copied()
    }

    /// When the last of its facts was recorded.
    pub(super) fn recorded_until(&self) -> Option<DateTime<Utc>> {
        self.facts.last().map(|logged| logged.recorded_at)
    }

    /// The place before `position`, if that is on this page too.
    pub(crate) fn before(&self, position: LogPosition) -> Option<LogPosition> {
        let index = self.positions.partition_point(|place| *place < position);
        index.checked_sub(1).map(|before| self.positions[before])
    }

    /// What `projection` can take: all of it, or what stands before a fact it must fold and nobody here
    /// can read.
    pub(crate) fn portion(&self, projection: Projection) -> Portion<'_> {
        let stopped_by = self.unreadable.iter().find(|row| projection.folds(&row.aggregate_type));
        let end = stopped_by
            .map_or(self.facts.len(), |row| self.facts.partition_point(|fact| fact.position < row.position));
        Portion { facts: &self.facts[..end], stopped_by }
    }

    /// Whether it holds nothing but deliveries: no configuration, nobody's rights.
    pub(crate) fn is_deliveries_only(&self) -> bool {
        self.facts.iter().all(|logged| matches!(logged.fact, Fact::WebhookEvent(_)))
    }
}

/// Names an unreadable fact and says what is wrong with it.
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
