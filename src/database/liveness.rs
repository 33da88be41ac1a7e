//! Checks of the pool's connections when they are acquired and released.
//!
//! sqlx checks them too, but without a deadline: a connection that has died silently would keep its permit, and
//! each of those that are idle would delay a caller.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::Connection;
use sqlx::postgres::{PgConnection, PgPoolOptions};
use tokio::time::timeout;

use super::deadline;

/// Time within which a connection must answer. A statement that was abandoned may still be running on it.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Idle time up to which a connection is not checked again.
const TRUSTED_FOR: Duration = Duration::from_millis(500);

/// When a connection was last found dead. The others that were idle then are probably dead as well, and are
/// replaced without a check: one after the other, checks would take too long.
#[derive(Debug, Default)]
struct Liveness(Mutex<Option<Instant>>);

/// Returns `options` for a pool whose connections are checked.
pub(super) fn checked(options: PgPoolOptions) -> PgPoolOptions {
    let on_acquire = Arc::new(Liveness::default());
    let on_release = Arc::clone(&on_acquire);
    options
        // Replaced by the check below.
        .test_before_acquire(false)
        .before_acquire(move |connection, metadata| {
            let liveness = Arc::clone(&on_acquire);
            Box::pin(async move { liveness.admit(connection, metadata.idle_for).await })
        })
        .after_release(move |connection, _| {
            let liveness = Arc::clone(&on_release);
            Box::pin(async move { liveness.check(connection).await.map(|()| true) })
        })
}

impl Liveness {
    /// Returns whether an idle connection may be used. It answered when it was released.
    async fn admit(&self, connection: &mut PgConnection, idle_for: Duration) -> Result<bool, sqlx::Error> {
        let found_dead = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if found_dead.is_some_and(|found| found.elapsed() <= idle_for) {
            return Ok(false);
        }
        if idle_for > TRUSTED_FOR {
            self.check(connection).await?;
        }
        Ok(true)
    }

    async fn check(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let answer = timeout(ANSWER_WITHIN, connection.ping()).await;
        answer.unwrap_or_else(|_| {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
            Err(deadline::exceeded())
        })
    }
}
