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
//!
//! Some facts are work, such as a webhook that was accepted; others only tell how work goes on. A follower may
//! look at once for the first and take its time for the others.

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
/// What follows the name of a process that says it listens; a name alone says that there is work.
const GREETING: &str = " listens";
/// What follows the name of a process that says work goes on.
const PROGRESS: &str = " goes on";
/// How often a process greets.
const GREET_EVERY: Duration = Duration::from_secs(5);
/// How long after it last heard another one a process takes itself to be alone.
const ALONE_AFTER: Duration = Duration::from_secs(20);
/// How long to wait before listening again after the connection broke.
const RELISTEN_AFTER: Duration = Duration::from_secs(1);

/// How the log has grown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notification {
    /// By something that somebody has to act on.
    Work,
    /// By what became of something that somebody acts on already.
    Progress,
}

/// Announces new facts, and wakes those who follow them.
#[derive(Clone, Debug)]
pub struct LogNotifier {
    here: NotificationCounter,
    elsewhere: NotificationCounter,
}

/// Counts what was told, for those who wait for more.
#[derive(Clone, Debug, Default)]
struct NotificationCounter {
    anything: watch::Sender<u64>,
    work: watch::Sender<u64>,
}

impl LogNotifier {
    /// Wake-ups within this process alone.
    #[must_use]
    pub fn within_process() -> Self {
        Self { here: NotificationCounter::default(), elsewhere: NotificationCounter::default() }
    }

    /// Wake-ups within this process and between all processes on the same database.
    #[must_use]
    pub fn between_processes(pool: &PgPool, tasks: &TaskTracker, stop: &CancellationToken) -> Self {
        let notifier = Self::within_process();
        let others = Others {
            pool: pool.clone(),
            // Several of these may run in one process, so its number would not do.
            ourselves: identifiers::new_id().to_string(),
            heard: watch::Sender::new(Instant::now()),
            notifier: notifier.clone(),
        };
        let told = (notifier.elsewhere.anything.subscribe(), notifier.elsewhere.work.subscribe());
        tasks.spawn(others.clone().notify(told, stop.clone()));
        tasks.spawn(others.listen(stop.clone()));
        notifier
    }

    /// Says that the log has grown.
    pub fn announce(&self, growth: Notification) {
        self.here.tell(growth);
        self.elsewhere.tell(growth);
    }

    /// A follower's ear for everything. Mark it seen before looking at the log, then wait for the next change.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.here.anything.subscribe()
    }

    /// A follower's ear for work alone, to be used like the other.
    #[must_use]
    pub fn subscribe_to_work(&self) -> watch::Receiver<u64> {
        self.here.work.subscribe()
    }
}

impl NotificationCounter {
    fn tell(&self, growth: Notification) {
        if growth == Notification::Work {
            self.work.send_modify(|count| *count = count.wrapping_add(1));
        }
        self.anything.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// The other processes on the same database.
#[derive(Clone, Debug)]
struct Others {
    pool: PgPool,
    ourselves: String,
    /// When one of them was heard last, or could not have been because nobody listened.
    heard: watch::Sender<Instant>,
    notifier: LogNotifier,
}

impl Others {
    async fn notify(
        self,
        (mut anything, mut work): (watch::Receiver<u64>, watch::Receiver<u64>),
        stop: CancellationToken,
    ) {
        let mut greet = tokio::time::interval(GREET_EVERY);
        greet.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let payload = tokio::select! {
                () = stop.cancelled() => return,
                _ = greet.tick() => format!("{}{GREETING}", self.ourselves),
                _ = anything.changed() => {
                    let has_work = work.has_changed().unwrap_or(true);
                    work.mark_unchanged();
                    match (self.are_there(), has_work) {
                        (false, _) => continue,
                        (true, true) => self.ourselves.clone(),
                        (true, false) => format!("{}{PROGRESS}", self.ourselves),
                    }
                }
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
            self.notifier.here.tell(Notification::Work);
            loop {
                match listener.try_recv().await {
                    Ok(Some(notification)) => {
                        if let Some(growth) = self.told_by(notification.payload()) {
                            self.notifier.here.tell(growth);
                        }
                    }
                    Ok(None) => break,
                    Err(error) => return error,
                }
            }
        }
    }

    /// Notes who was heard, and says how the log has grown, if it has.
    fn told_by(&self, payload: &str) -> Option<Notification> {
        let (name, growth) = match (payload.strip_suffix(GREETING), payload.strip_suffix(PROGRESS)) {
            (Some(name), _) => (name, None),
            (None, Some(name)) => (name, Some(Notification::Progress)),
            (None, None) => (payload, Some(Notification::Work)),
        };
        if name == self.ourselves {
            return None;
        }
        let was_alone = !self.are_there();
        self.heard.send_replace(Instant::now());
        if was_alone {
            // Whoever comes has looked at the log, and was not told what was appended since.
            self.notifier.elsewhere.tell(Notification::Work);
        }
        growth
    }

    fn are_there(&self) -> bool {
        self.heard.borrow().elapsed() < ALONE_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_hears_nobody_for_a_while_is_alone_until_somebody_comes() {
        let notifier = LogNotifier::within_process();
        let others = Others {
            pool: PgPool::connect_lazy("postgres://nobody@localhost/nothing").expect("a URL"),
            ourselves: "us".to_owned(),
            heard: watch::Sender::new(Instant::now()),
            notifier: notifier.clone(),
        };
        let mut told = notifier.elsewhere.work.subscribe();
        assert!(others.are_there(), "who has just begun does not know");

        let long_ago = Instant::now().checked_sub(ALONE_AFTER).expect("a machine that runs for a while");
        others.heard.send_replace(long_ago);
        assert_eq!(others.told_by("us listens"), None);
        assert_eq!(others.told_by("us"), None);
        assert!(!others.are_there());

        assert_eq!(others.told_by("them listens"), None);
        assert!(others.are_there());
        assert!(told.has_changed().expect("a sender"), "what it was not told it is told now");
        told.mark_unchanged();

        assert_eq!(others.told_by("them"), Some(Notification::Work));
        assert_eq!(others.told_by("them goes on"), Some(Notification::Progress));
        assert!(!told.has_changed().expect("a sender"));
    }
}
