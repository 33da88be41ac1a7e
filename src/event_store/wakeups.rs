//! Waking whoever follows the log.
//!
//! A wake-up says only "look": the log says what there is to do. In one process it is a watch channel;
//! between processes it is Postgres's NOTIFY, sent by one task that folds a burst of wake-ups into one,
//! outside the transactions that append (a NOTIFY inside them would make their commits queue behind one
//! another). A process passes over what it announced itself: its followers were woken when it did. A
//! wake-up may be lost; every follower also looks at a slow tick.
//!
//! Each NOTIFY is a transaction of its own, which costs as much as an append. So processes greet one another
//! now and then, and who has heard nobody for a while is alone and tells nobody.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::identifiers;

/// The channel of NOTIFY. Every process of an installation shares it.
const CHANNEL: &str = "hooksentry_log";
/// What follows the name of a process that says it listens; a name alone says that the log has grown.
const GREETING: &str = " listens";
/// How often a process greets.
const GREET_EVERY: Duration = Duration::from_secs(5);
/// How long after it last heard another one a process takes itself to be alone.
const ALONE_AFTER: Duration = Duration::from_secs(20);
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
        let others = Others {
            pool: pool.clone(),
            // Several of these may run in one process, so its number would not do.
            ourselves: identifiers::new_id().to_string(),
            heard: watch::Sender::new(Instant::now()),
            wakeups: wakeups.clone(),
        };
        let grown = wakeups.elsewhere.subscribe();
        tasks.spawn(others.clone().notify(grown, stop.clone()));
        tasks.spawn(others.listen(stop.clone()));
        wakeups
    }

    /// Says that the log has grown.
    pub fn announce(&self) {
        bump(&self.here);
        bump(&self.elsewhere);
    }

    /// A follower's ear. Mark it seen before looking at the log, then wait for the next change.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.here.subscribe()
    }
}

/// The other processes on the same database.
#[derive(Clone, Debug)]
struct Others {
    pool: PgPool,
    ourselves: String,
    /// When one of them was heard last, or could not have been because nobody listened.
    heard: watch::Sender<Instant>,
    wakeups: Wakeups,
}

impl Others {
    async fn notify(self, mut grown: watch::Receiver<u64>, stop: CancellationToken) {
        let mut greet = tokio::time::interval(GREET_EVERY);
        greet.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let payload = tokio::select! {
                () = stop.cancelled() => return,
                _ = greet.tick() => format!("{}{GREETING}", self.ourselves),
                _ = grown.changed() => match self.are_there() {
                    true => self.ourselves.clone(),
                    false => continue,
                },
            };
            // Nothing is kept that a crash could lose, so this commit need not wait for the disk.
            let sent = sqlx::query!(
                r#"SELECT set_config('synchronous_commit', 'off', true) AS "set!", pg_notify($1, $2) AS sent"#,
                CHANNEL,
                payload,
            )
            .fetch_one(&self.pool)
            .await;
            if let Err(error) = sent {
                tracing::debug!(error = %error, "other processes were not woken; they look at their next tick");
            }
        }
    }

    async fn listen(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                error = self.hear() => {
                    tracing::debug!(error = %error, "not listening for wake-ups; looking at ticks until it works again");
                }
            }
            self.heard.send_replace(Instant::now());
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(RELISTEN_AFTER) => {}
            }
        }
    }

    async fn hear(&self) -> sqlx::Error {
        let mut listener = match PgListener::connect_with(&self.pool).await {
            Ok(listener) => listener,
            Err(error) => return error,
        };
        if let Err(error) = listener.listen(CHANNEL).await {
            return error;
        }
        loop {
            // What was announced while nobody listened is caught by looking once. `try_recv` also answers
            // when it had to connect anew; `recv` would keep that to itself.
            bump(&self.wakeups.here);
            loop {
                match listener.try_recv().await {
                    Ok(Some(notification)) => {
                        if self.tells_of_growth(notification.payload()) {
                            break;
                        }
                    }
                    Ok(None) => break,
                    Err(error) => return error,
                }
            }
        }
    }

    /// Notes who was heard, and says whether the log has grown.
    fn tells_of_growth(&self, payload: &str) -> bool {
        let (name, is_greeting) = match payload.strip_suffix(GREETING) {
            Some(name) => (name, true),
            None => (payload, false),
        };
        if name == self.ourselves {
            return false;
        }
        let was_alone = !self.are_there();
        self.heard.send_replace(Instant::now());
        if was_alone {
            // Whoever comes has looked at the log, and was not told what was appended since.
            bump(&self.wakeups.elsewhere);
        }
        !is_greeting
    }

    fn are_there(&self) -> bool {
        self.heard.borrow().elapsed() < ALONE_AFTER
    }
}

fn bump(count: &watch::Sender<u64>) {
    count.send_modify(|count| *count = count.wrapping_add(1));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_hears_nobody_for_a_while_is_alone_until_somebody_comes() {
        let wakeups = Wakeups::within_process();
        let others = Others {
            pool: PgPool::connect_lazy("postgres://nobody@localhost/nothing").expect("a URL"),
            ourselves: "us".to_owned(),
            heard: watch::Sender::new(Instant::now()),
            wakeups: wakeups.clone(),
        };
        let mut told = wakeups.elsewhere.subscribe();
        assert!(others.are_there(), "who has just begun does not know");

        let long_ago = Instant::now().checked_sub(ALONE_AFTER).expect("a machine that runs for a while");
        others.heard.send_replace(long_ago);
        assert!(!others.tells_of_growth("us listens"));
        assert!(!others.tells_of_growth("us"));
        assert!(!others.are_there());

        assert!(!others.tells_of_growth("them listens"));
        assert!(others.are_there());
        assert!(told.has_changed().expect("a sender"), "what it was not told it is told now");
        told.mark_unchanged();

        assert!(others.tells_of_growth("them"));
        assert!(!told.has_changed().expect("a sender"));
    }
}
