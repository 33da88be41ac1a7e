//! Cache of the end of the log, shared by the readers of a process.
//!
//! Dispatcher and projector read the same facts, a moment apart. The rows that one of them has read are kept
//! for the other. They are consecutive, and none may be preceded by a fact that is committed later; so a
//! reader whose position is within the cache gets exactly what the database would return, and reads from the
//! database after its end. A reader whose position is elsewhere (it starts, or catches up) reads from the
//! database only.
//!
//! After a failover that lost the last commits, the rows may be facts that no longer exist. So the cache is cleared
//! when a reader begins a term or cannot read the log; its position is then what the database says.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use projections::{LogPosition, LogRow, TransactionId};
use sqlx::PgConnection;

use super::log_reader::{self, LogPage};

/// Maximum number of cached rows. The slower reader pauses for a tenth of a second, and for a second while it applies facts
/// of many destinations; when more is appended meanwhile, it reads from the database. Lower: it does so more often (with
/// half as many it read half of the facts of 8,000 webhooks a second to 1,000 destinations). Higher: more memory, about 700
/// bytes a row.
const ROWS_MAX: usize = 32_768;
/// Maximum size of their payloads, in bytes. A fact has a few hundred bytes, and rarely tens of thousands.
const BYTES_MAX: usize = 32 << 20;

/// The rows that the readers of this process have read last. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct RecentLog(Arc<Mutex<CachedRows>>);

/// All rows after `after` and up to `until`.
#[derive(Debug, Default)]
struct CachedRows {
    after: LogPosition,
    until: LogPosition,
    rows: VecDeque<LogRow>,
    bytes: usize,
    /// How often it was cleared.
    generation: u64,
}

impl RecentLog {
    /// Forgets all rows, also those that a reader is reading at the moment.
    pub fn clear(&self) {
        self.with(|cache| *cache = CachedRows { generation: cache.generation + 1, ..CachedRows::default() });
    }

    /// Returns the next rows after `after`, at most `rows_max`, as [`log_reader::read_after`] does.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn read_after(
        &self,
        connection: &mut PgConnection,
        after: LogPosition,
        rows_max: usize,
        elsewhere: &[TransactionId],
    ) -> Result<LogPage, sqlx::Error> {
        let (mut rows, generation) = self.with(|cache| (cache.rows_after(after, rows_max), cache.generation));
        let from = rows.last().map_or(after, LogRow::log_position);
        let missing = rows_max - rows.len();
        if missing == 0 {
            return Ok(LogPage { rows, held_back: false });
        }
        let page = log_reader::read_after(connection, from, missing, elsewhere)
            .await
            .inspect_err(|_| self.clear())?;
        self.with(|cache| {
            if cache.generation == generation {
                cache.extend(from, &page.rows);
            }
        });
        rows.extend(page.rows);
        Ok(LogPage { rows, held_back: page.held_back })
    }

    fn with<T>(&self, access: impl FnOnce(&mut CachedRows) -> T) -> T {
        access(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl CachedRows {
    fn rows_after(&self, after: LogPosition, rows_max: usize) -> Vec<LogRow> {
        if after < self.after || after >= self.until {
            return Vec::new();
        }
        let first = self.rows.partition_point(|row| row.log_position() <= after);
        self.rows.iter().skip(first).take(rows_max).cloned().collect()
    }

    /// Adds `rows`, which follow `from`. Rows that do not begin at the end of the cache are ignored when they
    /// begin before it, and replace the cache when they begin after it.
    fn extend(&mut self, from: LogPosition, rows: &[LogRow]) {
        let Some(last) = rows.last() else { return };
        if from > self.until || self.rows.is_empty() {
            (self.after, self.until) = (from, from);
            self.rows.clear();
            self.bytes = 0;
        }
        if from != self.until {
            return;
        }
        self.rows.extend(rows.iter().cloned());
        self.bytes += rows.iter().map(|row| row.payload.len()).sum::<usize>();
        self.until = last.log_position();
        while self.rows.len() > ROWS_MAX || self.bytes > BYTES_MAX {
            if let Some(oldest) = self.rows.pop_front() {
                self.bytes -= oldest.payload.len();
                self.after = oldest.log_position();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(positions: std::ops::RangeInclusive<i64>) -> Vec<LogRow> {
        positions
            .map(|position| LogRow {
                transaction_id: TransactionId(7),
                position,
                aggregate_type: String::new(),
                aggregate_id: String::new(),
                sequence: 1,
                event_type: String::new(),
                event_version: String::new(),
                payload: String::new(),
                tenant_id: None,
                recorded_at: chrono::DateTime::UNIX_EPOCH,
            })
            .collect()
    }

    fn at(position: i64) -> LogPosition {
        LogPosition { transaction_id: TransactionId(7), position }
    }

    fn cached(cache: &CachedRows, after: i64, rows_max: usize) -> Vec<i64> {
        cache.rows_after(at(after), rows_max).iter().map(|row| row.position).collect()
    }

    #[test]
    fn a_reader_gets_the_rows_that_another_has_read() {
        let mut cache = CachedRows::default();
        cache.extend(at(10), &rows(11..=13));
        cache.extend(at(13), &rows(15..=16));
        assert_eq!(cached(&cache, 10, 9), [11, 12, 13, 15, 16]);
        assert_eq!(cached(&cache, 12, 2), [13, 15]);
        assert_eq!(cached(&cache, 14, 9), [15, 16], "a position between two facts is within the cache");
        assert_eq!(cached(&cache, 16, 9), [0; 0], "later rows are not known");
        assert_eq!(cached(&cache, 9, 9), [0; 0], "nor earlier ones");
    }

    #[test]
    fn cached_rows_are_consecutive() {
        let mut cache = CachedRows::default();
        cache.extend(at(10), &rows(11..=13));
        cache.extend(at(5), &rows(6..=11));
        cache.extend(at(11), &rows(12..=14));
        assert_eq!(cached(&cache, 10, 9), [11, 12, 13], "rows that begin before its end are ignored");
        cache.extend(at(20), &rows(21..=22));
        assert_eq!(cached(&cache, 10, 9), [0; 0], "rows that begin after its end replace it");
        assert_eq!(cached(&cache, 20, 9), [21, 22]);
    }

    #[test]
    fn the_cache_is_bounded() {
        let mut cache = CachedRows::default();
        let last = i64::try_from(ROWS_MAX).unwrap() + 100;
        cache.extend(at(0), &rows(1..=last));
        assert_eq!(cache.rows.len(), ROWS_MAX);
        assert_eq!(cached(&cache, 99, 1), [0; 0]);
        assert_eq!(cached(&cache, 100, 1), [101]);

        let mut cache = CachedRows::default();
        let mut large = rows(1..=40);
        large.iter_mut().for_each(|row| row.payload = "x".repeat(1 << 20));
        cache.extend(at(0), &large);
        assert_eq!(cached(&cache, 8, 99), (9..=40).collect::<Vec<_>>(), "32 MiB of 40");
        assert_eq!(cached(&cache, 7, 99), [0; 0]);
    }
}
