//! The schedule and its tables: loading at the start of a term, fetching what memory does not hold,
//! refilling windows, and writing changes with the checkpoint.

use std::collections::HashMap;

use aggregates::ids::DestinationId;
use chrono::{DateTime, Utc};
use projections::{LogPosition, checkpoints};
use sqlx::{Connection, PgPool};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::due_deliveries::{self, DueDelivery, Window};
use super::fold::Fetched;
use super::schedule::Changes;
use super::{READER, REFILL_LANES_MAX, Term, TermEnded};
use crate::event_store;

impl Term<'_> {
    /// Loads what is under way, and the lanes with something to do.
    pub(super) async fn load(&mut self) -> Result<(), TermEnded> {
        let mut connection = self.dispatcher.pool.acquire().await?;
        self.position = checkpoints::take_over(&mut connection, READER, self.leadership.epoch()).await?;
        self.flushed = self.position;
        let under_way = due_deliveries::under_way(&mut connection).await?;
        let mut lanes: Vec<Uuid> = under_way.iter().map(|delivery| delivery.destination_id.0).collect();
        lanes.extend(due_deliveries::destinations_with_backlog(&mut connection).await?.iter().map(|id| id.0));
        lanes.extend(due_deliveries::suspended_lanes(&mut connection).await?.iter().map(|id| id.0));
        lanes.sort_unstable();
        lanes.dedup();
        for (id, state) in due_deliveries::load_lanes(&mut connection, &lanes).await? {
            self.schedule.take_in_lane(id, state);
        }
        for delivery in under_way {
            self.schedule.take_in_under_way(delivery);
        }
        Ok(())
    }

    /// Fetches what a batch of facts speaks of and memory does not hold.
    pub(super) async fn fetch(&mut self, events: &[Uuid], lanes: &[Uuid]) -> Result<Fetched, TermEnded> {
        if events.is_empty() && lanes.is_empty() {
            return Ok(Fetched::new());
        }
        self.end_flush().await?;
        let mut connection = self.dispatcher.pool.acquire().await?;
        if !lanes.is_empty() {
            for (id, state) in due_deliveries::load_lanes(&mut connection, lanes).await? {
                self.schedule.take_in_lane(id, state);
            }
        }
        let rows = match events {
            [] => Vec::new(),
            events => due_deliveries::load(&mut connection, events).await?,
        };
        Ok(rows.into_iter().map(|delivery| (delivery.event_id, delivery)).collect())
    }

    /// Fills the windows of lanes that run dry. The tables are brought up to date first, so that they
    /// hold all that memory does not.
    pub(super) async fn refill(&mut self, now: DateTime<Utc>) -> Result<(), TermEnded> {
        loop {
            let wanted = self.schedule.refills(REFILL_LANES_MAX);
            if wanted.is_empty() {
                return Ok(());
            }
            self.flush().await?;
            let windows: Vec<Window> = wanted
                .iter()
                .map(|(destination_id, rows_max)| Window {
                    destination_id: *destination_id,
                    rows_max: *rows_max,
                })
                .collect();
            let in_memory: Vec<Uuid> =
                wanted.iter().flat_map(|(id, _)| self.schedule.in_memory(*id)).collect();
            let destinations: Vec<Uuid> = wanted.iter().map(|(id, _)| id.0).collect();
            let mut connection = self.dispatcher.pool.acquire().await?;
            let rows = due_deliveries::windows(&mut connection, &windows, &in_memory, now).await?;
            let next_due = due_deliveries::next_due(&mut connection, &destinations, now).await?;
            drop(connection);
            let mut due_of: HashMap<DestinationId, Vec<DueDelivery>> = HashMap::new();
            for delivery in rows {
                due_of.entry(delivery.destination_id).or_default().push(delivery);
            }
            for (id, rows_max) in wanted {
                let due = due_of.remove(&id).unwrap_or_default();
                let complete = due.len() < rows_max;
                self.schedule.take_in_window(id, due, complete, next_due.get(&id).copied());
            }
        }
    }

    /// Writes what differs from the tables, and moves the checkpoint with it.
    pub(super) async fn flush(&mut self) -> Result<(), TermEnded> {
        self.begin_flush().await?;
        self.end_flush().await
    }

    /// Begins a flush, after the one before it, and does not wait until it is written: jobs are released
    /// meanwhile.
    pub(super) async fn begin_flush(&mut self) -> Result<(), TermEnded> {
        self.end_flush().await?;
        self.unflushed_since = None;
        if self.position == self.flushed && self.schedule.changes_len() == 0 {
            return Ok(());
        }
        let changes = self.schedule.take_changes();
        let (pool, epoch, position) = (self.dispatcher.pool.clone(), self.leadership.epoch(), self.position);
        let written = self.dispatcher.tasks.spawn(write(pool, changes, epoch, position));
        self.flush_under_way = Some(FlushUnderWay { written, position });
        Ok(())
    }

    /// Waits for the flush that is under way. Until then the tables may lack what memory no longer holds.
    pub(super) async fn end_flush(&mut self) -> Result<(), TermEnded> {
        if let Some(flush) = self.flush_under_way.take() {
            flush.written.await??;
            self.flushed = flush.position;
        }
        Ok(())
    }
}

/// A flush that is being written. If the term ends before it, it is written all the same, or refused because
/// somebody else leads by then.
pub(super) struct FlushUnderWay {
    written: JoinHandle<Result<(), TermEnded>>,
    position: LogPosition,
}

impl FlushUnderWay {
    pub(super) fn is_over(&self) -> bool {
        self.written.is_finished()
    }
}

async fn write(pool: PgPool, changes: Changes, epoch: u64, position: LogPosition) -> Result<(), TermEnded> {
    let mut connection = pool.acquire().await?;
    let mut transaction = connection.begin().await?;
    event_store::mark_non_appending(&mut transaction).await?;
    // Rows are looked up by their keys. The table is now empty, now long: a plan that was made while it was short
    // and scans it took a second for each flush of a backlog.
    sqlx::query!("SELECT set_config('enable_seqscan', 'off', true) AS scans")
        .fetch_one(&mut *transaction)
        .await?;
    due_deliveries::write(&mut transaction, &changes.written).await?;
    due_deliveries::remove(&mut transaction, &changes.removed).await?;
    due_deliveries::write_lanes(&mut transaction, &changes.lanes).await?;
    checkpoints::advance(&mut transaction, READER, epoch, position).await?;
    transaction.commit().await?;
    Ok(())
}
