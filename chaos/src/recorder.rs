//! What the suite records while it runs.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use chrono::{DateTime, Utc};

use crate::history::{Request, RunTime, Sent};

/// Clock of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunClock {
    began: Instant,
    began_at: DateTime<Utc>,
}

/// Record of a run, which clients and receivers share.
#[derive(Debug)]
pub(crate) struct Recorder {
    pub(crate) clock: RunClock,
    sent: Mutex<Vec<Sent>>,
    requests: Mutex<Vec<Request>>,
    /// When the last request to each destination began.
    last_request: Mutex<Vec<RunTime>>,
}

impl RunClock {
    /// Starts a clock at zero.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the suite is not the program, and has no clock to share")]
    pub(crate) fn start() -> Self {
        Self { began: Instant::now(), began_at: Utc::now() }
    }

    #[must_use]
    pub(crate) fn now(&self) -> RunTime {
        self.began.elapsed()
    }

    /// Converts a time of day on this machine.
    #[must_use]
    pub(crate) fn run_time(&self, at: DateTime<Utc>) -> RunTime {
        (at - self.began_at).to_std().unwrap_or_default()
    }
}

impl Recorder {
    #[must_use]
    pub(crate) fn new(destinations: usize) -> Self {
        Self {
            clock: RunClock::start(),
            sent: Mutex::default(),
            requests: Mutex::default(),
            last_request: Mutex::new(vec![RunTime::ZERO; destinations]),
        }
    }

    pub(crate) fn record_sent(&self, sent: Sent) {
        lock(&self.sent).push(sent);
    }

    pub(crate) fn record_request(&self, request: Request) {
        lock(&self.requests).push(request);
    }

    /// Records that a request to a destination began, and returns the time.
    pub(crate) fn begin_request(&self, destination: usize) -> RunTime {
        let now = self.clock.now();
        if let Some(last) = lock(&self.last_request).get_mut(destination) {
            *last = now;
        }
        now
    }

    /// Returns when the last request to a destination began; zero if there was none.
    #[must_use]
    pub(crate) fn last_request(&self, destination: usize) -> RunTime {
        lock(&self.last_request).get(destination).copied().unwrap_or_default()
    }

    #[must_use]
    pub(crate) fn sent_count(&self) -> usize {
        lock(&self.sent).len()
    }

    /// Takes the record.
    pub(crate) fn take(&self) -> (Vec<Sent>, Vec<Request>) {
        (std::mem::take(&mut *lock(&self.sent)), std::mem::take(&mut *lock(&self.requests)))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
