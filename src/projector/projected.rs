//! Waiting for the read models to show a fact.

use std::sync::Arc;
use std::time::Duration;

use projections::{LogPosition, Projection, checkpoints};
use sqlx::PgPool;
use tokio::sync::{Notify, watch};

/// Bounds of the interval at which the checkpoints are read while another process leads.
const POLL_MIN: Duration = Duration::from_millis(5);
const POLL_MAX: Duration = Duration::from_millis(50);

/// The progress of the read models, for callers that wait until a fact is shown.
#[derive(Clone, Debug)]
pub struct Projected {
    pool: PgPool,
    reached: watch::Receiver<Option<LogPosition>>,
    awaited: Arc<Notify>,
}

impl Projected {
    pub(super) fn new(
        pool: PgPool,
        reached: watch::Receiver<Option<LogPosition>>,
        awaited: Arc<Notify>,
    ) -> Self {
        Self { pool, reached, awaited }
    }

    /// Creates the progress for a process without a projector, which polls the checkpoints.
    #[must_use]
    pub fn elsewhere(pool: PgPool) -> Self {
        Self::new(pool, watch::Sender::new(None).subscribe(), Arc::default())
    }

    /// Waits until every read model shows the fact at `position`, at most for `timeout`. Returns whether they do.
    /// Does not wait for a projection that has halted, nor for one that is far behind
    /// ([`checkpoints::BEHIND_FACTS_MAX`]), as a new one is.
    pub async fn wait(&self, position: LogPosition, timeout: Duration) -> bool {
        tokio::time::timeout(timeout, self.until(position)).await.is_ok()
    }

    /// Returns a receiver that changes whenever the projector of this process has applied facts; it is closed
    /// where there is no projector. Unlike [`Self::wait`], it does not make the projector apply facts sooner.
    #[must_use]
    pub fn moves(&self) -> watch::Receiver<Option<LogPosition>> {
        self.reached.clone()
    }

    async fn until(&self, position: LogPosition) {
        self.awaited.notify_one();
        let mut reached = self.reached.clone();
        let mut pause = POLL_MIN;
        loop {
            let here = *reached.borrow_and_update();
            match here {
                Some(here) if here >= position => return,
                // This process leads: the channel changes when it has applied more, or has lost the lead.
                Some(_) if reached.changed().await.is_ok() => continue,
                _ => {}
            }
            match self.is_reached(position).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => tracing::debug!(error = %error, "reading the checkpoints failed, will retry"),
            }
            tokio::select! {
                Ok(()) = reached.changed() => {}
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(POLL_MAX),
            }
        }
    }

    async fn is_reached(&self, position: LogPosition) -> Result<bool, sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        checkpoints::have_reached(&mut connection, &Projection::ALL.map(Projection::name), position).await
    }
}
