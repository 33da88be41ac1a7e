//! Waking whoever follows the log.
//!
//! A wake-up says only "look": the log says what there is to do. In one process it is a watch channel;
//! between processes it is Postgres's NOTIFY, sent by one task that folds a burst of wake-ups into one,
//! outside the transactions that append (a NOTIFY inside them would make their commits queue behind one
//! another). A wake-up may be lost; every follower also looks at a slow tick.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The channel of NOTIFY. Every process of an installation shares it.
const CHANNEL: &str = "hooksentry_log";
/// How long to wait before listening again after the connection broke.
const RELISTEN_AFTER: Duration = Duration::from_secs(1);

/// Announces new facts, and wakes those who follow them.
#[derive(Clone, Debug)]
pub struct Wakeups {
    here: watch::Sender<u64>,
    elsewhere: watch::Sender<u64>,
}

impl Wakeups {
    /// Wake-ups within this process alone.
    #[must_use]
    pub fn within_process() -> Self {
        Self { here: watch::Sender::new(0), elsewhere: watch::Sender::new(0) }
    }

    /// Wake-ups within this process and between all processes on the same database.
    #[must_use]
    pub fn between_processes(pool: &PgPool, tasks: &TaskTracker, stop: &CancellationToken) -> Self {
        let wakeups = Self::within_process();
        tasks.spawn(notify(pool.clone(), wakeups.elsewhere.subscribe(), stop.clone()));
        tasks.spawn(listen(pool.clone(), wakeups.here.clone(), stop.clone()));
        wakeups
    }

    /// Says that the log has grown.
    pub fn announce(&self) {
        self.here.send_modify(|count| *count = count.wrapping_add(1));
        self.elsewhere.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// A follower's ear. Mark it seen before looking at the log, then wait for the next change.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.here.subscribe()
    }
}

async fn notify(pool: PgPool, mut grown: watch::Receiver<u64>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = grown.changed() => if changed.is_err() { return },
        }
        let sent = sqlx::query!("SELECT pg_notify($1, '') AS sent", CHANNEL).execute(&pool).await;
        if let Err(error) = sent {
            tracing::debug!(error = %error, "other processes were not woken; they look at their next tick");
        }
    }
}

async fn listen(pool: PgPool, here: watch::Sender<u64>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            error = hear(&pool, &here) => {
                tracing::debug!(error = %error, "not listening for wake-ups; looking at ticks until it works again");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RELISTEN_AFTER) => {}
        }
    }
}

async fn hear(pool: &PgPool, here: &watch::Sender<u64>) -> sqlx::Error {
    let mut listener = match PgListener::connect_with(pool).await {
        Ok(listener) => listener,
        Err(error) => return error,
    };
    if let Err(error) = listener.listen(CHANNEL).await {
        return error;
    }
    loop {
        // What was announced while nobody listened is caught by looking once. `try_recv` also answers
        // when it had to connect anew; `recv` would keep that to itself.
        here.send_modify(|count| *count = count.wrapping_add(1));
        if let Err(error) = listener.try_recv().await {
            return error;
        }
    }
}
