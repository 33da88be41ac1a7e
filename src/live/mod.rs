//! The live room: tells whoever listens what changes for their tenant, as it changes.
//!
//! **One follower a process.** However many listen, the log is followed once, and only for the tenants
//! that have listeners; while nobody listens, not at all. Every process follows for itself, so listeners
//! may be on any node and come back to another one: a place in the log means the same on all of them.
//!
//! **Never ahead of the read models.** The follower stays at or behind the place up to which the read
//! models show what happened. Who is told of a change and asks for the thing finds it changed.
//!
//! **Nobody waits for a slow listener.** What is found is put into a ring for each tenant, and the
//! follower goes on. A listener that falls out of the ring reads what it missed from the log, in pages, at
//! its own pace: the same way in which one that was away comes back with the place it had reached. If that
//! is too much to catch up with, it is told so and goes on from the present; it must then look at
//! everything anew. So nothing is held for anybody but the ring, and nothing is left out in silence.
//!
//! **A listener may stay as long as its session.** The follower sees the fact that closes a session; the
//! listener ends in its place. Whoever serves a listener also asks now and then whether the session is
//! still good, because a user can lose access without one.

mod audience;
mod change;
mod subscription;

use std::sync::Arc;
use std::time::Duration;

use aggregates::ids::{SessionId, TenantId};
use projections::{LogPosition, LoggedFact, Projection, checkpoints};
use sqlx::PgPool;
use thiserror::Error;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::event_store::{LogNotifier, log_reader};
use crate::projector::Projected;
use audience::SubscriberRegistry;
use change::Notice;

pub use audience::Full;
pub use change::Change;
pub use subscription::{StreamItem, Subscription};

/// Facts that are read and handed out at once.
const PAGE_FACTS_MAX: usize = 256;
/// The read models that show what is told of. Others may be new and far behind.
const SHOWING: [Projection; 7] = [
    Projection::Tenants,
    Projection::Users,
    Projection::ApiKeys,
    Projection::Destinations,
    Projection::Senders,
    Projection::WebhookEvents,
    Projection::DeliveryAttempts,
];
/// How soon it is looked again how far the read models are: after the log grew at first, and at most.
/// Longer, and listeners hear later; shorter, and a busy log causes as many questions as facts.
const LOOK_AGAIN_MIN: Duration = Duration::from_millis(20);
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(1);
/// How long to wait after the database failed.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long a listener waits for the follower to begin.
const BEGINNING_TIME_MAX: Duration = Duration::from_secs(5);
/// Listeners that read from the log at the same time; each has a connection while it reads.
const CATCHING_UP_MAX: usize = 4;

/// Tells what changes. Cloned freely; all clones share one follower.
#[derive(Clone, Debug)]
pub struct Broadcaster {
    pool: PgPool,
    notifier: LogNotifier,
    projector_moves: watch::Receiver<Option<LogPosition>>,
    audience: Arc<SubscriberRegistry>,
    catching_up: Arc<Semaphore>,
    stop: CancellationToken,
}

/// Why nobody can listen.
#[derive(Debug, Error)]
pub enum SubscribeError {
    /// There are too many already.
    #[error(transparent)]
    Full(#[from] Full),
    /// It is not known how far the read models are, or the service is stopping.
    #[error("changes cannot be followed at the moment")]
    NotFollowing,
    /// The database did not answer.
    #[error("the log cannot be read")]
    Database(#[from] sqlx::Error),
}

impl Broadcaster {
    /// Of the log in the database of `pool`. Listeners end with `stop`.
    #[must_use]
    pub fn new(pool: PgPool, notifier: LogNotifier, projected: &Projected, stop: CancellationToken) -> Self {
        Self {
            pool,
            notifier,
            projector_moves: projected.moves(),
            audience: Arc::default(),
            catching_up: Arc::new(Semaphore::new(CATCHING_UP_MAX)),
            stop,
        }
    }

    /// Listens to what changes for a tenant, in a session: from now on, or from where the listener was.
    pub async fn listen(
        &self,
        tenant_id: TenantId,
        session_id: SessionId,
        from: Option<LogPosition>,
    ) -> Result<Subscription, SubscribeError> {
        let (seat, notices) = self.audience.join(tenant_id)?;
        let followed = tokio::select! {
            followed = tokio::time::timeout(BEGINNING_TIME_MAX, self.audience.followed()) => followed,
            () = self.stop.cancelled() => return Err(SubscribeError::NotFollowing),
        };
        let followed = followed.map_err(|_| SubscribeError::NotFollowing)?;
        let mut subscription = Subscription::new(self.clone(), seat, notices, tenant_id, session_id);
        subscription.begin(followed, from).await?;
        Ok(subscription)
    }

    /// Follows the log while somebody listens, until `stop`. One task of the process does this.
    pub async fn follow(&self) {
        let stop = self.stop.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.follow_for_ever() => {}
        }
    }

    async fn follow_for_ever(&self) {
        loop {
            self.audience.somebody().await;
            // From the present: whoever was away reads what lies before from the log.
            if let Some(place) = self.further_than(None).await {
                self.audience.begin(place);
                self.follow_from(place).await;
            }
        }
    }

    /// Follows until nobody listens.
    async fn follow_from(&self, mut place: LogPosition) {
        while let Some(until) = self.further_than(Some(place)).await {
            while place < until {
                let Some(tenants) = self.audience.about_to_read(until) else { return };
                match self.read(&tenants, place, until).await {
                    Ok((notices, reached)) => {
                        self.audience.hand_out(notices, reached);
                        place = reached;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the log cannot be followed for those who listen; trying again");
                        tokio::time::sleep(TRY_AGAIN_AFTER).await;
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
    ) -> Result<(Vec<(TenantId, Notice)>, LogPosition), sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        let rows_max = PAGE_FACTS_MAX as i64;
        let rows = log_reader::read_between(&mut connection, tenants, after, until, rows_max).await?;
        let whole = rows.len() < PAGE_FACTS_MAX;
        let reached = rows.last().filter(|_| !whole).map_or(until, |row| row.log_position());
        // A fact that this version cannot read stops a projection, which says so: here it is passed over.
        let facts = rows.into_iter().filter_map(|row| LoggedFact::try_from(row).ok());
        let notices = facts.filter_map(|logged| Some((logged.tenant_id, Notice::of(&logged)?)));
        Ok((notices.collect(), reached))
    }

    /// Waits until the read models are further than `place`, and answers how far they are; nothing, when
    /// nobody listens any more.
    async fn further_than(&self, place: Option<LogPosition>) -> Option<LogPosition> {
        let (mut grown, mut moves) = (self.notifier.subscribe(), self.projector_moves.clone());
        let mut pause = LOOK_AGAIN_MIN;
        loop {
            // Marked seen before the look, so that what comes during the look wakes us again.
            grown.mark_unchanged();
            moves.mark_unchanged();
            match self.shown().await {
                Ok(shown) if shown > place => return shown,
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "it cannot be asked how far the read models are"),
            }
            if self.audience.rests() {
                return None;
            }
            tokio::time::sleep(LOOK_AGAIN_MIN).await;
            tokio::select! {
                Ok(()) = moves.changed() => {}
                Ok(()) = grown.changed() => pause = LOOK_AGAIN_MIN,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LOOK_AGAIN_MAX),
            }
        }
    }

    /// How far the hindmost of the read models is that follow the log; nothing, when some have not begun
    /// or all have halted.
    async fn shown(&self) -> Result<Option<LogPosition>, sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        let shown = checkpoints::load(&mut connection, &SHOWING.map(Projection::name)).await?;
        if shown.len() < SHOWING.len() {
            return Ok(None);
        }
        let following = shown.iter().filter(|checkpoint| checkpoint.halted_because.is_none());
        Ok(following.map(|checkpoint| checkpoint.position).min())
    }
}
