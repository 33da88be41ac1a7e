//! Readiness of this process, and what it measured.
//!
//! Every process answers health checks; the handlers are in `api::health`. A process that is not
//! *live* can only be restarted. A process that is not *ready* cannot work now, which may change by itself.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::event_store::group_commit::CommitActivity;
use crate::leadership::LeadershipStatus;
use crate::queue::{JobQueue, QueueState};
use crate::telemetry::Telemetry;

/// Time within which the database must answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Age of a commit in progress from which on the process is not ready. A slow disk takes seconds.
const COMMIT_AGE_MAX: Duration = Duration::from_secs(5);
/// Time without an answer of the database about a lead from which on the process is not ready. Longer than it takes
/// to lose the lead and to ask for it again.
const LEAD_AGE_MAX: Duration = Duration::from_secs(15);

/// What a process needs to be ready, and its measurements.
#[derive(Clone, Debug)]
pub struct Health {
    pub pool: PgPool,
    /// The queue, if a role of the process needs one.
    pub queue: Option<Arc<dyn JobQueue>>,
    /// Cancelled when the process takes no more work.
    pub intake: CancellationToken,
    pub telemetry: Telemetry,
    /// The committers of the process, each with what it commits.
    pub commits: Vec<(&'static str, CommitActivity)>,
    /// The roles that one process performs at a time, as far as this one runs them.
    pub leads: Vec<(&'static str, LeadershipStatus)>,
}

impl Health {
    /// Returns the reasons why the process is not ready.
    pub async fn not_ready_reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.intake.is_cancelled() {
            reasons.push("process stopping".to_owned());
        }
        let answer = timeout(ANSWER_WITHIN, sqlx::query("SELECT 1").execute(&self.pool)).await;
        if !matches!(answer, Ok(Ok(_))) {
            reasons.push("database does not answer".to_owned());
        }
        for (name, activity) in &self.commits {
            if activity.is_away() {
                reasons.push(format!("{name} cannot be committed"));
            } else if activity.commit_age() > COMMIT_AGE_MAX {
                let age = activity.commit_age().as_secs();
                reasons.push(format!("a commit of {name} has been running for {age} s"));
            }
        }
        for (role, status) in &self.leads {
            if status.age() > LEAD_AGE_MAX {
                let age = status.age().as_secs();
                reasons.push(format!("the database has not answered the {role} for {age} s"));
            }
        }
        match self.queue.as_ref().map(|queue| queue.state()) {
            None | Some(QueueState::Ready) => {}
            Some(QueueState::Blocked { .. }) => reasons.push("queue takes no jobs".to_owned()),
            Some(QueueState::Disconnected) => reasons.push("queue not connected".to_owned()),
        }
        reasons
    }

    /// Returns for how long the oldest commit in progress has been running; zero when there is none.
    #[must_use]
    pub fn oldest_commit(&self) -> Duration {
        self.commits.iter().map(|(_, activity)| activity.commit_age()).max().unwrap_or_default()
    }
}
