//! Readiness of this process, and what it measured.
//!
//! Every process answers health checks; the handlers are in `api::health`. A process that is not
//! *live* can only be restarted. A process that is not *ready* cannot work now, which may change by itself.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::queue::{JobQueue, QueueState};
use crate::telemetry::Telemetry;

/// Time within which the database must answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// What a process needs to be ready, and its measurements.
#[derive(Clone, Debug)]
pub struct Health {
    pub pool: PgPool,
    /// The queue, if a role of the process needs one.
    pub queue: Option<Arc<dyn JobQueue>>,
    /// Cancelled when the process takes no more work.
    pub intake: CancellationToken,
    pub telemetry: Telemetry,
}

impl Health {
    /// Returns the reasons why the process is not ready, each with the name of the part concerned.
    pub async fn not_ready_reasons(&self) -> Vec<(&'static str, &'static str)> {
        let mut reasons = Vec::new();
        if self.intake.is_cancelled() {
            reasons.push(("process", "stopping"));
        }
        let answer = timeout(ANSWER_WITHIN, sqlx::query("SELECT 1").execute(&self.pool)).await;
        if !matches!(answer, Ok(Ok(_))) {
            reasons.push(("database", "does not answer"));
        }
        match self.queue.as_ref().map(|queue| queue.state()) {
            None | Some(QueueState::Ready) => {}
            Some(QueueState::Blocked { .. }) => reasons.push(("queue", "takes no jobs")),
            Some(QueueState::Disconnected) => reasons.push(("queue", "not connected")),
        }
        reasons
    }
}
