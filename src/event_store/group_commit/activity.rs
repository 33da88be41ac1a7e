//! What a committer is doing, for its callers and for health checks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Activity of a committer. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct CommitActivity(Arc<Mutex<Activity>>);

#[derive(Debug, Default)]
struct Activity {
    commit_since: Option<Instant>,
    is_away: bool,
}

impl CommitActivity {
    /// Returns whether the database is away, so that items are refused.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.lock().is_away
    }

    /// Returns for how long the commit in progress has been running; zero when there is none.
    #[must_use]
    pub fn commit_age(&self) -> Duration {
        self.lock().commit_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    pub(super) fn set_away(&self, is_away: bool) {
        self.lock().is_away = is_away;
    }

    pub(super) fn begin_commit(&self) {
        self.lock().commit_since = Some(Instant::now());
    }

    pub(super) fn end_commit(&self) {
        self.lock().commit_since = None;
    }

    fn lock(&self) -> MutexGuard<'_, Activity> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
