//! A subscription: which notifications it returns, and how it catches up with the log.

use std::collections::VecDeque;
use std::sync::Arc;

use aggregates::ids::{SessionId, TenantId};
use projections::{LogPosition, LoggedFact, TenantScope};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::change::{Change, Notification, NotificationContent};
use super::subscriber_registry::{FollowerProgress, Slot};
use super::{Broadcaster, PAGE_FACTS_MAX};
use crate::event_store::log_reader;

/// Largest number of facts, of all tenants, that a subscription catches up with. Finding the facts of a tenant among
/// more of them takes the database longer than it takes a client to request everything again.
const CATCH_UP_FACTS_MAX: i64 = 50_000;

/// Changes of one tenant after a position of the log.
#[derive(Debug)]
pub struct Subscription {
    broadcaster: Broadcaster,
    tenant_id: TenantId,
    session_id: SessionId,
    notifications: broadcast::Receiver<Arc<Notification>>,
    /// Position up to which every notification was returned.
    position: LogPosition,
    /// Facts after `position` that must be read from the log.
    catch_up: Option<CatchUp>,
    /// The client must be told that notifications were skipped.
    reset: bool,
    _slot: Slot,
}

#[derive(Debug)]
struct CatchUp {
    until: LogPosition,
    /// Notifications that were read and not returned.
    page: VecDeque<Notification>,
    /// Position up to which the log was read.
    read: LogPosition,
}

impl CatchUp {
    fn between(position: LogPosition, until: LogPosition) -> Option<Self> {
        (position < until).then(|| Self { until, page: VecDeque::new(), read: position })
    }
}

/// Item of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamItem {
    Change(Change),
    /// There were too many changes, and some were skipped: the client must request everything again.
    Reset,
    /// The session may not be valid any more. Not a reason to end the subscription by itself: a client that resumes
    /// reads of a suspension that is over.
    CheckSession,
}

impl Subscription {
    pub(super) fn new(
        broadcaster: Broadcaster,
        slot: Slot,
        notifications: broadcast::Receiver<Arc<Notification>>,
        tenant_id: TenantId,
        session_id: SessionId,
    ) -> Self {
        Self {
            broadcaster,
            tenant_id,
            session_id,
            notifications,
            position: LogPosition::default(),
            catch_up: None,
            reset: false,
            _slot: slot,
        }
    }

    /// Starts after the position `from`, or at the progress of the follower.
    pub(super) async fn start(
        &mut self,
        progress: FollowerProgress,
        from: Option<LogPosition>,
    ) -> Result<(), sqlx::Error> {
        self.position = match from {
            None => progress.reading,
            Some(from) if from <= progress.reading => from,
            // Another process may be ahead of this one. But a position beyond the end of the log is not of this log,
            // so the client must request everything again.
            Some(from) => {
                let end = log_reader::last_committed(&mut *self.broadcaster.pool.acquire().await?).await?;
                let end = end.unwrap_or_default();
                self.reset = from > end;
                if self.reset { progress.reading } else { from }
            }
        };
        self.catch_up = CatchUp::between(self.position, progress.reading);
        Ok(())
    }

    /// Returns the position up to which every notification was returned.
    pub fn position(&mut self) -> LogPosition {
        // Read before the channel is found empty: later notifications are beyond this progress.
        let progress = self.broadcaster.registry.progress();
        if let Some(progress) = progress
            && self.catch_up.is_none()
            && self.notifications.is_empty()
        {
            self.position = self.position.max(progress.sent);
        }
        self.position
    }

    /// Returns the next item; `None` after the session was closed or while the process stops. Cancel safe: no
    /// notification is lost if the future is dropped.
    ///
    /// # Errors
    /// The log cannot be read.
    pub async fn next(&mut self) -> Result<Option<StreamItem>, sqlx::Error> {
        let stop = self.broadcaster.stop.clone();
        tokio::select! {
            biased;
            () = stop.cancelled() => Ok(None),
            item = self.next_item() => item,
        }
    }

    async fn next_item(&mut self) -> Result<Option<StreamItem>, sqlx::Error> {
        loop {
            if std::mem::take(&mut self.reset) {
                metrics::counter!("hooksentry_live_resets_total").increment(1);
                return Ok(Some(StreamItem::Reset));
            }
            let notification = match &mut self.catch_up {
                None => match self.notifications.recv().await {
                    Ok(notification) => Notification::clone(&notification),
                    Err(RecvError::Closed) => return Ok(None),
                    Err(RecvError::Lagged(_)) => {
                        let progress = self.broadcaster.registry.progress();
                        self.catch_up = progress.and_then(|to| CatchUp::between(self.position, to.reading));
                        continue;
                    }
                },
                Some(catch_up) => match catch_up.page.pop_front() {
                    Some(notification) => notification,
                    None => {
                        self.position = self.position.max(catch_up.read);
                        if self.position >= catch_up.until {
                            self.catch_up = None;
                        } else if catch_up.until.position.saturating_sub(self.position.position)
                            > CATCH_UP_FACTS_MAX
                        {
                            self.position = catch_up.until;
                            self.catch_up = None;
                            self.reset = true;
                        } else {
                            self.read_page().await?;
                        }
                        continue;
                    }
                },
            };
            // The client has received it before, from this process or another one.
            if notification.position <= self.position {
                continue;
            }
            self.position = notification.position;
            match notification.content {
                NotificationContent::Changed(change) => return Ok(Some(StreamItem::Change(change))),
                NotificationContent::SessionClosed(session_id) if session_id == self.session_id => {
                    return Ok(None);
                }
                NotificationContent::SessionClosed(_) => {}
                NotificationContent::TenantSuspended => return Ok(Some(StreamItem::CheckSession)),
            }
        }
    }

    /// Reads the next page of the log.
    async fn read_page(&mut self) -> Result<(), sqlx::Error> {
        let Some(catch_up) = &mut self.catch_up else { return Ok(()) };
        // The semaphore is never closed.
        let _permit = self.broadcaster.catch_ups.acquire().await;
        let mut scope = TenantScope::begin(&self.broadcaster.pool, self.tenant_id).await?;
        let (tenants, rows_max) = ([self.tenant_id.0], PAGE_FACTS_MAX as i64);
        let rows =
            log_reader::read_between(scope.connection(), &tenants, catch_up.read, catch_up.until, rows_max)
                .await?;
        scope.end().await?;
        let whole = rows.len() < PAGE_FACTS_MAX;
        catch_up.read = rows.last().filter(|_| !whole).map_or(catch_up.until, |row| row.log_position());
        let facts = rows.into_iter().filter_map(|row| LoggedFact::try_from(row).ok());
        catch_up.page = facts.filter_map(|logged| Notification::of(&logged)).collect();
        Ok(())
    }
}
