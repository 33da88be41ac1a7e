//! Deadlines of statements, on the side of the client.
//!
//! A connection may die silently: after a failover, a loss of power, or the loss of a firewall's state, nothing
//! arrives any more, and a process that has sent its request waits for the answer without end. A timeout of
//! the server does not help, because that server is gone. So each statement on whose end others depend has
//! a deadline here, beyond every timeout of a server that lives.

use std::io;
use std::time::Duration;

use tokio::time::timeout;

/// Deadline of a statement on the path of a webhook, and of others that are as short. Lower: a busy server is
/// taken for a dead one. Higher: after a failover deliveries stop for longer.
pub const SHORT: Duration = Duration::from_secs(15);
/// Deadline of statements that write or read many rows.
pub const LONG: Duration = Duration::from_secs(75);

/// Error of a statement that did not end before its deadline.
pub(super) fn exceeded() -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, "PostgreSQL did not answer in time"))
}

/// Runs statements that must end within `limit`. At the deadline they are dropped with their connection: one of
/// the pool is checked, and closed unless it answers within a moment.
///
/// # Errors
/// Those of `work`, and [`sqlx::Error::Io`] at the deadline. Statements that change something may have done so.
pub async fn in_time<T, E: From<sqlx::Error>>(
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    match timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => {
            tracing::warn!(?limit, "PostgreSQL did not answer in time");
            metrics::counter!("hooksentry_database_deadlines_exceeded_total").increment(1);
            Err(exceeded().into())
        }
    }
}
