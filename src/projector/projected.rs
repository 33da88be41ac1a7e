//! Waiting for the read models to show a fact.

use std::sync::Arc;
use std::time::Duration;

use projections::{LogPosition, Projection, checkpoints};
use sqlx::PgPool;
use tokio::sync::{Notify, watch};

/// How soon the checkpoints are read again, at first and at most, while another process leads.
const POLL_MIN: Duration = Duration::from_millis(5);
const POLL_MAX: Duration = Duration::from_millis(50);

/// How far the read models are, for whoever must not answer before they show something.
#[derive(Clone, Debug)]
pub struct Projected {
    pool: PgPool,
    reached: watch::Receiver<Option<LogPosition>>,
    awaited: Arc<Notify>,
}

impl Projected {
    pub(super) fn beside(
        pool: PgPool,
        reached: watch::Receiver<Option<LogPosition>>,
        awaited: Arc<Notify>,
    ) -> Self {
        Self { pool, reached, awaited }
    }

    /// For a process without a projector of its own.
    #[must_use]
    pub fn elsewhere(pool: PgPool) -> Self {
        Self::beside(pool, watch::Sender::new(None).subscribe(), Arc::default())
    }

    /// Waits until every read model shows the fact at `position`, but not longer than `patience`; says
    /// whether they do. A projection that has halted is not waited for, nor is one that still has a long
    /// log before it ([`checkpoints::BEHIND_FACTS_MAX`]), as a new one has.
    pub async fn wait(&self, position: LogPosition, patience: Duration) -> bool {
        tokio::time::timeout(patience, self.until(position)).await.is_ok()
    }

    /// Changes whenever the projector of this process has applied something; closed where there is none.
    /// Unlike [`Self::wait`], listening to it hurries nobody.
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
                // This process leads: it says when it has come further, or leads no more.
                Some(_) if reached.changed().await.is_ok() => continue,
                _ => {}
            }
            match self.is_reached(position).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => tracing::debug!(error = %error, "the checkpoints cannot be read now"),
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
