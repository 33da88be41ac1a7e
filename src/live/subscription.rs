//! One listener: what it hears, and how it catches up.

use std::collections::VecDeque;
use std::sync::Arc;

use aggregates::ids::{SessionId, TenantId};
use projections::{LogPosition, LoggedFact, TenantScope};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::audience::{Followed, Slot};
use super::change::{Change, News, Notice};
use super::{Broadcaster, PAGE_FACTS_MAX};
use crate::event_store::log_reader;

/// Most facts of the log, of all tenants, that a listener catches up with. Looking for a tenant's facts
/// among more takes the database longer than it takes the listener to look at everything anew.
const CATCH_UP_FACTS_MAX: i64 = 50_000;

/// What changes for one tenant, from one place of the log on. It holds its place in the audience until
/// it is dropped.
#[derive(Debug)]
pub struct Subscription {
    live: Broadcaster,
    tenant_id: TenantId,
    session_id: SessionId,
    notices: broadcast::Receiver<Arc<Notice>>,
    /// Everything up to here was heard.
    place: LogPosition,
    /// What lies between that and here has to be read from the log.
    missed: Option<Missed>,
    /// It has to be told that something was passed over.
    passed_over: bool,
    _seat: Slot,
}

#[derive(Debug)]
struct Missed {
    until: LogPosition,
    /// What was read and not heard yet.
    page: VecDeque<Notice>,
    /// How far it was read.
    read: LogPosition,
}

impl Missed {
    fn between(place: LogPosition, until: LogPosition) -> Option<Self> {
        (place < until).then(|| Self { until, page: VecDeque::new(), read: place })
    }
}

/// What a listener hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamItem {
    /// Something changed.
    Change(Change),
    /// So much changed since the listener was here that it is passed over: whatever was looked at before
    /// has to be looked at anew.
    PassedOver,
}

impl Subscription {
    pub(super) fn new(
        live: Broadcaster,
        seat: Slot,
        notices: broadcast::Receiver<Arc<Notice>>,
        tenant_id: TenantId,
        session_id: SessionId,
    ) -> Self {
        let place = LogPosition::default();
        Self { live, tenant_id, session_id, notices, place, missed: None, passed_over: false, _seat: seat }
    }

    /// Takes up where the listener was; otherwise at what is shown by now.
    pub(super) async fn begin(
        &mut self,
        followed: Followed,
        from: Option<LogPosition>,
    ) -> Result<(), sqlx::Error> {
        self.place = match from {
            None => followed.reading,
            Some(from) if from <= followed.reading => from,
            // Another node may be ahead of this one. But a place that no log has reached is of another
            // log, or of none: then everything has to be looked at anew.
            Some(from) => {
                let end = log_reader::last_committed(&mut *self.live.pool.acquire().await?).await?;
                let end = end.unwrap_or_default();
                self.passed_over = from > end;
                if self.passed_over { followed.reading } else { from }
            }
        };
        self.missed = Missed::between(self.place, followed.reading);
        Ok(())
    }

    /// The place up to which everything was heard.
    pub fn place(&mut self) -> LogPosition {
        let followed = self.live.audience.followed_now();
        // In this order: what is handed out after the question is beyond the answer.
        if let Some(followed) = followed
            && self.missed.is_none()
            && self.notices.is_empty()
        {
            self.place = self.place.max(followed.handed_out);
        }
        self.place
    }

    /// What is heard next; nothing more when the session is closed or the service stops. Nothing is lost
    /// when this is dropped half-way.
    pub async fn next(&mut self) -> Result<Option<StreamItem>, sqlx::Error> {
        let stop = self.live.stop.clone();
        tokio::select! {
            biased;
            () = stop.cancelled() => Ok(None),
            heard = self.hear() => heard,
        }
    }

    async fn hear(&mut self) -> Result<Option<StreamItem>, sqlx::Error> {
        loop {
            if std::mem::take(&mut self.passed_over) {
                metrics::counter!("hooksentry_live_passed_over_total").increment(1);
                return Ok(Some(StreamItem::PassedOver));
            }
            let notice = match &mut self.missed {
                None => match self.notices.recv().await {
                    Ok(notice) => Notice::clone(&notice),
                    Err(RecvError::Closed) => return Ok(None),
                    Err(RecvError::Lagged(_)) => {
                        let followed = self.live.audience.followed_now();
                        self.missed = followed.and_then(|to| Missed::between(self.place, to.reading));
                        continue;
                    }
                },
                Some(missed) => match missed.page.pop_front() {
                    Some(notice) => notice,
                    None => {
                        self.place = self.place.max(missed.read);
                        if self.place >= missed.until {
                            self.missed = None;
                        } else if missed.until.position.saturating_sub(self.place.position)
                            > CATCH_UP_FACTS_MAX
                        {
                            self.place = missed.until;
                            self.missed = None;
                            self.passed_over = true;
                        } else {
                            self.read_page().await?;
                        }
                        continue;
                    }
                },
            };
            // Heard before, here or on another node.
            if notice.position <= self.place {
                continue;
            }
            self.place = notice.position;
            match notice.news {
                News::Changed(change) => return Ok(Some(StreamItem::Change(change))),
                News::SessionClosed(session_id) if session_id == self.session_id => return Ok(None),
                News::SessionClosed(_) => {}
            }
        }
    }

    /// Reads the next page of what was missed.
    async fn read_page(&mut self) -> Result<(), sqlx::Error> {
        let Some(missed) = &mut self.missed else { return Ok(()) };
        // The semaphore is never closed.
        let _turn = self.live.catching_up.acquire().await;
        let mut scope = TenantScope::begin(&self.live.pool, self.tenant_id).await?;
        let (tenants, rows_max) = ([self.tenant_id.0], PAGE_FACTS_MAX as i64);
        let rows =
            log_reader::read_between(scope.connection(), &tenants, missed.read, missed.until, rows_max)
                .await?;
        scope.end().await?;
        let whole = rows.len() < PAGE_FACTS_MAX;
        missed.read = rows.last().filter(|_| !whole).map_or(missed.until, |row| row.log_position());
        let facts = rows.into_iter().filter_map(|row| LoggedFact::try_from(row).ok());
        missed.page = facts.filter_map(|logged| Notice::of(&logged)).collect();
        Ok(())
    }
}
