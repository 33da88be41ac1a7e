//! Notifications of readers after appends to the log.
//!
//! A notification carries no facts: the reader reads the log. Within a process it is a watch channel. Between
//! processes it is PostgreSQL's NOTIFY, sent by one task that merges a burst into one, outside the
//! transactions that append (a NOTIFY inside them would make their commits wait for one another). A process
//! ignores its own NOTIFY: its readers were notified when it appended. A notification may be lost; every
//! reader also reads the log at a slow interval.
//!
//! Each NOTIFY is a transaction, which costs as much as an append. Therefore each process announces itself
//! every 5 s, and a process that has seen no other for 20 s sends no notifications until it sees one. When it begins
//! to listen it need not wait for that: a process that listens holds an advisory lock that the others see. A process
//! receives its own keep-alives, too: when they stop, the connection that listens has died, and is replaced.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;

use crate::database;
use crate::identifiers;
use crate::lifecycle::HelperTasks;

/// Channel of NOTIFY, shared by all processes of an installation. A payload is the sender's id, a space, and
/// one of the words below.
const CHANNEL: &str = "hooksentry_log";
const KEEP_ALIVE: &str = "alive";
const NEW_WORK: &str = "new-work";
const PROGRESS: &str = "progress";

/// Interval of keep-alives.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// Time since the last message of another process after which a process considers itself alone. Four
/// keep-alives, so that a lost one does not matter.
const ALONE_AFTER: Duration = Duration::from_secs(20);
/// Time without a keep-alive of the process itself after which the connection that listens is replaced. Three
/// keep-alives, so that a slow one does not matter.
const DEAF_AFTER: Duration = Duration::from_secs(15);
/// Advisory lock that a process shares while it listens: "hookhear" in ASCII.
const LISTENING: i64 = 0x686f_6f6b_6865_6172;
/// Time within which listening must begin.
const LISTEN_TIME_MAX: Duration = Duration::from_secs(5);
/// Pause before listening again after the connection broke.
const RELISTEN_AFTER: Duration = Duration::from_secs(1);

/// Kind of the facts that were appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notification {
    /// Facts that require an action, such as an accepted webhook. The dispatcher reads the log at once.
    NewWork,
    /// Facts about work that is already in progress. The dispatcher may take its time.
    Progress,
}

/// Notifies the readers of the log in this process, and in others, of appended facts.
#[derive(Clone, Debug)]
pub struct LogNotifier {
    local: NotificationCounter,
    outgoing: NotificationCounter,
}

/// Counters of notifications, which wrap around; receivers wait for a change.
#[derive(Clone, Debug, Default)]
struct NotificationCounter {
    all: watch::Sender<u64>,
    new_work: watch::Sender<u64>,
}

impl LogNotifier {
    /// Returns a notifier for the readers in this process only.
    #[must_use]
    pub fn within_process() -> Self {
        Self { local: NotificationCounter::default(), outgoing: NotificationCounter::default() }
    }

    /// Returns a notifier for the readers in all processes on the same database, and starts the tasks that
    /// send and receive NOTIFY until `stop`.
    #[must_use]
    pub fn between_processes(pool: &PgPool, tasks: &HelperTasks, stop: &CancellationToken) -> Self {
        let notifier = Self::within_process();
        let peers = Peers {
            pool: pool.clone(),
            // Not the process id: tests run several of these in one process.
            own_id: identifiers::new_id().to_string(),
            last_seen: watch::Sender::new(Instant::now()),
            notifier: notifier.clone(),
        };
        let outgoing = (notifier.outgoing.all.subscribe(), notifier.outgoing.new_work.subscribe());
        tasks.spawn("the sender of notifications", peers.clone().send(outgoing, stop.clone()));
        tasks.spawn("the receiver of notifications", peers.listen(stop.clone()));
        notifier
    }

    /// Notifies all readers that facts were appended.
    pub fn notify(&self, notification: Notification) {
        self.local.count(notification);
        self.outgoing.count(notification);
    }

    /// Returns a receiver of all notifications. Mark it unchanged before reading the log, then wait for a
    /// change: so no append is missed.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.local.all.subscribe()
    }

    /// Returns a receiver of [`Notification::NewWork`] only, to be used like that of [`Self::subscribe`].
    #[must_use]
    pub fn subscribe_to_new_work(&self) -> watch::Receiver<u64> {
        self.local.new_work.subscribe()
    }
}

impl NotificationCounter {
    fn count(&self, notification: Notification) {
        if notification == Notification::NewWork {
            self.new_work.send_modify(|count| *count = count.wrapping_add(1));
        }
        self.all.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// The other processes on the same database.
#[derive(Clone, Debug)]
struct Peers {
    pool: PgPool,
    own_id: String,
    /// Time of the last message of another process, or of the last moment at which none could be received.
    last_seen: watch::Sender<Instant>,
    notifier: LogNotifier,
}

impl Peers {
    /// Sends keep-alives, and the notifications of this process while there are others.
    async fn send(
        self,
        (mut all, mut new_work): (watch::Receiver<u64>, watch::Receiver<u64>),
        stop: CancellationToken,
    ) {
        let mut keep_alive = tokio::time::interval(KEEP_ALIVE_INTERVAL);
        keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let message = tokio::select! {
                () = stop.cancelled() => return,
                _ = keep_alive.tick() => KEEP_ALIVE,
                _ = all.changed() => {
                    let has_new_work = new_work.has_changed().unwrap_or(true);
                    new_work.mark_unchanged();
                    if self.is_alone() {
                        continue;
                    }
                    if has_new_work { NEW_WORK } else { PROGRESS }
                }
            };
            // Nothing is stored that a crash could lose, so this commit need not wait for the disk.
            let sent = sqlx::query!(
                r#"SELECT set_config('synchronous_commit', 'off', true) AS "set!", pg_notify($1, $2) AS sent"#,
                CHANNEL,
                format!("{} {message}", self.own_id),
            )
            .fetch_one(&self.pool);
            let sent = tokio::select! {
                () = stop.cancelled() => return,
                sent = database::in_time(database::SHORT, sent) => sent,
            };
            if let Err(error) = sent {
                tracing::debug!(error = %error, "other processes were not notified; they poll the log");
            }
        }
    }

    async fn listen(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                error = self.receive() => {
                    tracing::debug!(error = %error, "no notifications are received; polling the log meanwhile");
                }
            }
            self.last_seen.send_replace(Instant::now());
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(RELISTEN_AFTER) => {}
            }
        }
    }

    /// Receives messages until it fails.
    async fn receive(&self) -> sqlx::Error {
        let (mut listener, are_others_listening) =
            match timeout(LISTEN_TIME_MAX, self.start_listening()).await {
                Ok(Ok(listening)) => listening,
                Ok(Err(error)) => return error,
                Err(_) => return deaf(),
            };
        self.begin(are_others_listening);
        // Notifications that were sent before the connection existed are lost, so the readers read once.
        self.notifier.local.count(Notification::NewWork);
        let mut deaf_at = Instant::now() + DEAF_AFTER;
        loop {
            match tokio::time::timeout_at(deaf_at, listener.try_recv()).await {
                Ok(Ok(Some(message))) => {
                    if self.is_own_keep_alive(message.payload()) {
                        deaf_at = Instant::now() + DEAF_AFTER;
                    }
                    if let Some(notification) = self.handle(message.payload()) {
                        self.notifier.local.count(notification);
                    }
                }
                // The connection was closed.
                Ok(Ok(None)) => return sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into()),
                Ok(Err(error)) => return error,
                Err(_) => return deaf(),
            }
        }
    }

    /// Listens on a connection outside the pool: a dead one could not be returned to it. Returns it, and whether other
    /// processes listen.
    async fn start_listening(&self) -> Result<(PgListener, bool), sqlx::Error> {
        let options = PgPoolOptions::new().max_connections(1).acquire_timeout(LISTEN_TIME_MAX);
        let own = options.connect_lazy_with((*self.pool.connect_options()).clone());
        let mut listener = PgListener::connect_with(&own).await?;
        // It would not listen until the next call, and hide that.
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await?;
        // The lock comes before the look: of two processes that begin at once at least one sees the
        // other, and sends it a message.
        sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock_shared($1) AS "locked!""#, LISTENING)
            .fetch_one(&mut listener)
            .await?;
        let are_others_listening = sqlx::query_scalar!(
            r#"
            SELECT EXISTS (
                SELECT
                FROM pg_locks
                WHERE locktype = 'advisory'
                  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                  AND (classid::bigint << 32) | objid::bigint = $1
                  AND objsubid = 1
                  AND pid <> pg_backend_pid()
            ) AS "others!"
            "#,
            LISTENING,
        )
        .fetch_one(&mut listener)
        .await?;
        Ok((listener, are_others_listening))
    }

    /// Begins to listen. Notifies the others, if there are any.
    fn begin(&self, are_others_listening: bool) {
        if are_others_listening {
            self.last_seen.send_replace(Instant::now());
            self.notifier.outgoing.count(Notification::NewWork);
        } else if let Some(long_ago) = Instant::now().checked_sub(ALONE_AFTER) {
            self.last_seen.send_replace(long_ago);
        }
    }

    fn is_own_keep_alive(&self, payload: &str) -> bool {
        payload.split_once(' ') == Some((self.own_id.as_str(), KEEP_ALIVE))
    }

    /// Records that another process exists, and returns the notification that its message carries, if any.
    fn handle(&self, payload: &str) -> Option<Notification> {
        let (sender, message) = payload.split_once(' ').unwrap_or((payload, NEW_WORK));
        if sender == self.own_id {
            return None;
        }
        let was_alone = self.is_alone();
        self.last_seen.send_replace(Instant::now());
        if was_alone {
            // The new process has read the log, and was not notified of what was appended since.
            self.notifier.outgoing.count(Notification::NewWork);
        }
        match message {
            KEEP_ALIVE => None,
            PROGRESS => Some(Notification::Progress),
            _ => Some(Notification::NewWork),
        }
    }

    fn is_alone(&self) -> bool {
        self.last_seen.borrow().elapsed() >= ALONE_AFTER
    }
}

/// Error of a connection on which nothing arrives any more.
fn deaf() -> sqlx::Error {
    sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_is_alone_until_it_hears_of_another() {
        let notifier = LogNotifier::within_process();
        let peers = Peers {
            pool: PgPool::connect_lazy("postgres://unused@localhost/unused").expect("a URL"),
            own_id: "us".to_owned(),
            last_seen: watch::Sender::new(Instant::now()),
            notifier: notifier.clone(),
        };
        let mut outgoing = notifier.outgoing.new_work.subscribe();
        assert!(!peers.is_alone(), "a process that has just started does not know yet");
        peers.begin(true);
        assert!(!peers.is_alone());
        assert!(outgoing.has_changed().expect("a sender"), "the other processes learn that it has started");
        outgoing.mark_unchanged();

        peers.begin(false);
        assert!(!outgoing.has_changed().expect("a sender"), "there is no other process");
        assert_eq!(peers.handle("us alive"), None);
        assert_eq!(peers.handle("us new-work"), None);
        assert!(peers.is_alone());

        assert_eq!(peers.handle("them alive"), None);
        assert!(!peers.is_alone());
        assert!(
            outgoing.has_changed().expect("a sender"),
            "the other process is notified of earlier appends"
        );
        outgoing.mark_unchanged();

        assert_eq!(peers.handle("them new-work"), Some(Notification::NewWork));
        assert_eq!(peers.handle("them progress"), Some(Notification::Progress));
        assert!(!outgoing.has_changed().expect("a sender"));
    }
}
