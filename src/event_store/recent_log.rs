//! The end of the log, read once for all followers of a process.
//!
//! Dispatcher and projector follow the same facts, a moment apart. What one of them has read is kept for
//! the other. It is a stretch of the log without gaps, from one place to another, and everything in it
//! was settled when it was read; so a follower that stands within it gets from here exactly what the
//! database would answer, and goes to the database from its end on. A follower that stands elsewhere (it
//! starts, or catches up) is served by the database alone.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use projections::{LogPosition, LogRow};
use sqlx::PgConnection;

use super::log_reader::{self, LogPage};

/// Rows that are kept. The slower follower pauses for a tenth of a second; more comes only while it is
/// behind, and then the database serves it.
const ROWS_MAX: usize = 8_192;

/// The end of the log, as the followers of this process have read it. Cloned freely; clones share it.
#[derive(Clone, Debug, Default)]
pub struct RecentLog(Arc<Mutex<LogRange>>);

/// All facts after `after` and up to `until`.
#[derive(Debug, Default)]
struct LogRange {
    after: LogPosition,
    until: LogPosition,
    rows: VecDeque<LogRow>,
}

impl RecentLog {
    /// The next rows after `after`, at most `rows_max`, as [`log_reader::read_after`] answers.
    pub async fn read_after(
        &self,
        connection: &mut PgConnection,
        after: LogPosition,
        rows_max: usize,
    ) -> Result<LogPage, sqlx::Error> {
        let mut rows = self.with(|stretch| stretch.rows_after(after, rows_max));
        let from = rows.last().map_or(after, LogRow::log_position);
        let room = rows_max - rows.len();
        if room == 0 {
            return Ok(LogPage { rows, held_back: false });
        }
        let page = log_reader::read_after(connection, from, i64::try_from(room).unwrap_or(i64::MAX)).await?;
        self.with(|stretch| stretch.extend(from, &page.rows));
        rows.extend(page.rows);
        Ok(LogPage { rows, held_back: page.held_back })
    }

    fn with<T>(&self, look: impl FnOnce(&mut LogRange) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl LogRange {
    fn rows_after(&self, after: LogPosition, rows_max: usize) -> Vec<LogRow> {
        if after < self.after || after >= self.until {
            return Vec::new();
        }
        let first = self.rows.partition_point(|row| row.log_position() <= after);
        self.rows.iter().skip(first).take(rows_max).cloned().collect()
    }

    /// Takes in what follows `from`. What lies before the stretch, or in it, is passed over; what begins
    /// beyond it takes its place.
    fn extend(&mut self, from: LogPosition, rows: &[LogRow]) {
        let Some(last) = rows.last() else { return };
        if from > self.until || self.rows.is_empty() {
            *self = Self { after: from, until: from, rows: VecDeque::new() };
        }
        if from != self.until {
            return;
        }
        self.rows.extend(rows.iter().cloned());
        self.until = last.log_position();
        while self.rows.len() > ROWS_MAX {
            if let Some(oldest) = self.rows.pop_front() {
                self.after = oldest.log_position();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use projections::TransactionId;

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

    fn answer(stretch: &LogRange, after: i64, rows_max: usize) -> Vec<i64> {
        stretch.rows_after(at(after), rows_max).iter().map(|row| row.position).collect()
    }

    #[test]
    fn what_one_follower_read_another_need_not_read() {
        let mut stretch = LogRange::default();
        stretch.extend(at(10), &rows(11..=13));
        stretch.extend(at(13), &rows(15..=16));
        assert_eq!(answer(&stretch, 10, 9), [11, 12, 13, 15, 16]);
        assert_eq!(answer(&stretch, 12, 2), [13, 15]);
        assert_eq!(answer(&stretch, 14, 9), [15, 16], "a place between two facts is in it too");
        assert_eq!(answer(&stretch, 16, 9), [0; 0], "nothing is known of what follows");
        assert_eq!(answer(&stretch, 9, 9), [0; 0], "nor of what came before");
    }

    #[test]
    fn it_never_has_a_gap() {
        let mut stretch = LogRange::default();
        stretch.extend(at(10), &rows(11..=13));
        stretch.extend(at(5), &rows(6..=11));
        stretch.extend(at(11), &rows(12..=14));
        assert_eq!(answer(&stretch, 10, 9), [11, 12, 13], "what begins before its end is passed over");
        stretch.extend(at(20), &rows(21..=22));
        assert_eq!(answer(&stretch, 10, 9), [0; 0], "what begins beyond its end takes its place");
        assert_eq!(answer(&stretch, 20, 9), [21, 22]);
    }

    #[test]
    fn it_is_bounded() {
        let mut stretch = LogRange::default();
        let last = i64::try_from(ROWS_MAX).unwrap() + 100;
        stretch.extend(at(0), &rows(1..=last));
        assert_eq!(stretch.rows.len(), ROWS_MAX);
        assert_eq!(answer(&stretch, 99, 1), [0; 0]);
        assert_eq!(answer(&stretch, 100, 1), [101]);
    }
}
