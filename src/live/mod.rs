//! Live stream: notifies subscribers of changes of their tenant.
//!
//! **One follower per process.** The log is followed once for all subscribers, and only for the tenants that have
//! subscribers; without any, the follower stops. Every process follows the log for itself, so a client may reconnect to
//! another process: positions in the log mean the same in all of them.
//!
//! **Never ahead of the read models.** The follower stays at or behind the position that the read models have applied.
//! A client that is notified of a change and requests the resource finds it changed.
//!
//! **Slow subscribers do not delay others.** Notifications are put into a bounded channel for each tenant. A subscriber
//! that falls behind the channel reads what it missed from the log, in pages and at its own pace, as does one that
//! reconnects with its last position. If that is too much, it is reset: it is told so, continues at the present and has
//! to request everything again. So memory is bounded, and no change is omitted silently.
//!
//! **A subscription ends with its session.** The follower sees the fact that closes a session, and the subscription
//! ends at that position. When the tenant is suspended, and at an interval, the handler of the stream checks the session,
//! because a user can lose access without such a fact.

mod change;
mod subscriber_registry;
mod subscription;

use std::sync::Arc;
use std::time::Duration;

use aggregates::ids::{SessionId, TenantId};
use projections::{LogPosition, LoggedFact, Projection, checkpoints};
use sqlx::PgPool;
use thiserror::Error;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::database;
use crate::event_store::{LogNotifier, log_reader};
use crate::projector::Projected;
use change::Notification;
use subscriber_registry::SubscriberRegistry;

pub use change::Change;
pub use subscriber_registry::SubscriberLimit;
pub use subscription::{StreamItem, Subscription};

/// Facts that are read in one page.
const PAGE_FACTS_MAX: usize = 256;
/// Read models of the resources that subscribers are notified of. Others may be new and far behind.
const READ_MODELS: [Projection; 7] = [
    Projection::Tenants,
    Projection::Users,
    Projection::ApiKeys,
    Projection::Destinations,
    Projection::Senders,
    Projection::WebhookEvents,
    Projection::DeliveryAttempts,
];
/// First and longest interval at which the progress of the read models is polled after the log has grown. Longer:
/// notifications are late. Shorter: a busy log causes as many queries as facts.
const POLL_INTERVAL_MIN: Duration = Duration::from_millis(20);
const POLL_INTERVAL_MAX: Duration = Duration::from_secs(1);
/// Delay after an error of the database.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Time within which the follower must start for a new subscriber.
const START_TIME_MAX: Duration = Duration::from_secs(5);
/// Largest number of subscribers that read from the log concurrently, each with a connection.
const CATCH_UPS_MAX: usize = 4;

/// Notifies subscribers of changes. All clones share one follower.
#[derive(Clone, Debug)]
pub struct Broadcaster {
    pool: PgPool,
    notifier: LogNotifier,
    projector_moves: watch::Receiver<Option<LogPosition>>,
    registry: Arc<SubscriberRegistry>,
    catch_ups: Arc<Semaphore>,
    stop: CancellationToken,
}

/// Reason why a subscription is refused.
#[derive(Debug, Error)]
pub enum SubscribeError {
    #[error(transparent)]
    Full(#[from] SubscriberLimit),
    /// The progress of the read models is not known, or the process is stopping.
    #[error("changes cannot be followed at the moment")]
    NotFollowing,
    #[error("the log cannot be read")]
    Database(#[from] sqlx::Error),
}

impl Broadcaster {
    /// Creates a broadcaster for the log in the database of `pool`. Subscriptions end with `stop`.
    #[must_use]
    pub fn new(pool: PgPool, notifier: LogNotifier, projected: &Projected, stop: CancellationToken) -> Self {
        Self {
            pool,
            notifier,
            projector_moves: projected.moves(),
            registry: Arc::default(),
            catch_ups: Arc::new(Semaphore::new(CATCH_UPS_MAX)),
            stop,
        }
    }

    /// Subscribes to the changes of a tenant, after the position `from` or from now on.
    ///
    /// # Errors
    /// There are too many subscribers, the follower cannot start, or the log cannot be read.
    pub async fn subscribe(
        &self,
        tenant_id: TenantId,
        session_id: SessionId,
        from: Option<LogPosition>,
    ) -> Result<Subscription, SubscribeError> {
        let (slot, notifications) = self.registry.join(tenant_id)?;
        let progress = tokio::select! {
            progress = tokio::time::timeout(START_TIME_MAX, self.registry.started_progress()) => progress,
            () = self.stop.cancelled() => return Err(SubscribeError::NotFollowing),
        };
        let progress = progress.map_err(|_| SubscribeError::NotFollowing)?;
        let mut subscription = Subscription::new(self.clone(), slot, notifications, tenant_id, session_id);
        subscription.start(progress, from).await?;
        Ok(subscription)
    }

    /// Follows the log while there are subscribers, until `stop`. Runs in one task of the process.
    pub async fn follow(&self) {
        let stop = self.stop.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.follow_forever() => {}
        }
    }

    async fn follow_forever(&self) {
        loop {
            self.registry.wait_for_subscriber().await;
            // From now on: subscribers that resume read earlier facts from the log.
            if let Some(position) = self.wait_for_progress(None).await {
                self.registry.start(position);
                self.follow_from(position).await;
            }
        }
    }

    /// Follows until there are no subscribers.
    async fn follow_from(&self, mut position: LogPosition) {
        while let Some(until) = self.wait_for_progress(Some(position)).await {
            while position < until {
                let Some(tenants) = self.registry.start_reading(until) else { return };
                match self.read(&tenants, position, until).await {
                    Ok((notifications, reached)) => {
                        self.registry.send(notifications, reached);
                        position = reached;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the log cannot be read for live streams, will retry");
                        tokio::time::sleep(RETRY_DELAY).await;
                    }
                }
            }
        }
    }

    async fn read(
        &self,
        tenants: &[uuid::Uuid],
        after: LogPosition,
        until: LogPosition,
    ) -> Result<(Vec<(TenantId, Notification)>, LogPosition), sqlx::Error> {
        let rows = database::in_time(database::SHORT, async {
            let mut connection = self.pool.acquire().await?;
            log_reader::read_between(&mut connection, tenants, after, until, PAGE_FACTS_MAX as i64).await
        })
        .await?;
        let whole = rows.len() < PAGE_FACTS_MAX;
        let reached = rows.last().filter(|_| !whole).map_or(until, |row| row.log_position());
        // A fact that this version cannot read halts a projection, which reports it. It is skipped here.
        let facts = rows.into_iter().filter_map(|row| LoggedFact::try_from(row).ok());
        let notifications = facts.filter_map(|logged| Some((logged.tenant_id, Notification::of(&logged)?)));
        Ok((notifications.collect(), reached))
    }

    /// Waits until the read models are beyond `position`, and returns their position; `None` if there are no
    /// subscribers.
    async fn wait_for_progress(&self, position: Option<LogPosition>) -> Option<LogPosition> {
        let (mut grown, mut moves) = (self.notifier.subscribe(), self.projector_moves.clone());
        let mut pause = POLL_INTERVAL_MIN;
        loop {
            // Before the query, so that progress during the query wakes this task again.
            grown.mark_unchanged();
            moves.mark_unchanged();
            match self.applied().await {
                Ok(applied) if applied > position => return applied,
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "the progress of the read models cannot be read"),
            }
            if self.registry.stop_if_empty() {
                return None;
            }
            tokio::time::sleep(POLL_INTERVAL_MIN).await;
            tokio::select! {
                Ok(()) = moves.changed() => {}
                Ok(()) = grown.changed() => pause = POLL_INTERVAL_MIN,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(POLL_INTERVAL_MAX),
            }
        }
    }

    /// Returns the position that all read models have applied, without those that have halted; `None` if some have
    /// not started or all have halted.
    async fn applied(&self) -> Result<Option<LogPosition>, sqlx::Error> {
        let applied = database::in_time(database::SHORT, async {
            let mut connection = self.pool.acquire().await?;
            checkpoints::load(&mut connection, &READ_MODELS.map(Projection::name)).await
        })
        .await?;
        if applied.len() < READ_MODELS.len() {
            return Ok(None);
        }
        let following = applied.iter().filter(|checkpoint| checkpoint.halted_because.is_none());
        Ok(following.map(|checkpoint| checkpoint.position).min())
    }
}
