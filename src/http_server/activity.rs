//! Time limits of a connection: until its first request, between requests, and in total.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Time limits of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectionTimes {
    /// Time within which the head of the first request must arrive, and on HTTP/1 that of each further one.
    pub(super) head: Duration,
    /// Time without a request after which the connection is closed.
    pub(super) idle: Duration,
    /// Age after which the connection takes no more requests.
    pub(super) age: Duration,
    /// Time after which a connection without a request is dropped that is being closed.
    pub(super) close: Duration,
    /// Age after which the connection is dropped even if requests are in progress: the age plus the longest duration
    /// of a request, which is that of a live stream.
    pub(super) drop: Duration,
    /// Time within which a peer must take each piece of an answer.
    pub(super) piece: Duration,
}

impl Default for ConnectionTimes {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(15),
            idle: Duration::from_secs(120),
            age: Duration::from_secs(3_600),
            close: Duration::from_secs(10),
            drop: Duration::from_secs(2 * 3_600 + 60),
            piece: Duration::from_secs(30),
        }
    }
}

/// Activity of a connection.
pub(super) struct Activity {
    times: ConnectionTimes,
    opened: Instant,
    state: Mutex<State>,
}

struct State {
    requests: usize,
    /// Whether there was a request.
    used: bool,
    /// End of the last request, or when the connection was opened.
    idle_since: Instant,
}

/// Request in progress: until its answer was sent, or given up.
pub(super) struct ActiveRequest(Arc<Activity>);

/// Reason to close a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    /// The first request did not arrive in time.
    Silent,
    Idle,
    Old,
}

impl Activity {
    pub(super) fn new(times: ConnectionTimes) -> Arc<Self> {
        let opened = Instant::now();
        let state = State { requests: 0, used: false, idle_since: opened };
        Arc::new(Self { times, opened, state: Mutex::new(state) })
    }

    pub(super) fn begin_request(self: &Arc<Self>) -> ActiveRequest {
        let mut state = self.state();
        state.requests += 1;
        state.used = true;
        ActiveRequest(Arc::clone(self))
    }

    /// Waits until the connection should be closed.
    pub(super) async fn expired(&self) -> Expiry {
        let Self { times, opened, .. } = self;
        loop {
            let now = Instant::now();
            if now >= *opened + times.age {
                return Expiry::Old;
            }
            let (expiry, allowed) = match self.state().used {
                true => (Expiry::Idle, times.idle),
                false => (Expiry::Silent, times.head),
            };
            let expires_at = self.idle_since().unwrap_or(now) + allowed;
            if now >= expires_at {
                return expiry;
            }
            // Requests may begin and end in between: the shorter time is when to look again.
            let look_again_at = expires_at.min(now + times.idle).min(*opened + times.age);
            sleep_until(look_again_at).await;
        }
    }

    /// Waits until a connection that is being closed should be dropped.
    pub(super) async fn overdue(&self) {
        let closing = Instant::now();
        let Self { times, opened, .. } = self;
        loop {
            let now = Instant::now();
            let overdue_at =
                self.idle_since().map_or(now, |idle_since| idle_since.max(closing)) + times.close;
            let overdue_at = overdue_at.min(*opened + times.drop);
            if now >= overdue_at {
                return;
            }
            sleep_until(overdue_at).await;
        }
    }

    /// Returns since when there is no request; `None` if one is in progress.
    fn idle_since(&self) -> Option<Instant> {
        let state = self.state();
        (state.requests == 0).then_some(state.idle_since)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ActiveRequest {
    pub(super) fn piece_time_max(&self) -> Duration {
        self.0.times.piece
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.requests -= 1;
        state.idle_since = Instant::now();
    }
}
