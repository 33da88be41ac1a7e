//! First attempts of webhooks that this process is about to accept: they need neither a job nor a claim of their own
//! ([`crate::event_store::FirstAttempts`]).

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::concurrency_limit::ConcurrencyLimit;
use super::consumer::attempt;
use super::delivery::AttemptRunner;
use crate::event_store::{ClaimedPayload, FirstAttempt, NewEvent, PermitLeases, PreparesAttempts};
use crate::queue::Job;

/// Prepares first attempts for the worker until it stops.
pub(super) struct FirstAttemptMaker {
    pub(super) runner: Arc<AttemptRunner>,
    pub(super) limit: ConcurrencyLimit,
    pub(super) in_progress: TaskTracker,
    pub(super) stop: CancellationToken,
}

impl PreparesAttempts for FirstAttemptMaker {
    fn prepare(&self, event: NewEvent, leases: &PermitLeases) -> Option<FirstAttempt> {
        let NewEvent { event_id, tenant_id, destination_id } = event;
        // The worker waits for what it has prepared.
        let (in_progress, token) = (self.in_progress.clone(), self.in_progress.token());
        if self.stop.is_cancelled() {
            return None;
        }
        let lease = leases.take(destination_id, event_id)?;
        let job = Job {
            event_id,
            tenant_id,
            destination_id,
            stream_version: 1,
            attempt: 1,
            failed_attempts: 0,
            unknown_in_a_row: 0,
            epoch: lease.epoch,
            stage_version: lease.stage_version,
        };
        let (claim, claimed) = self.runner.first_claim(&job)?;
        let permit = self.limit.try_acquire_if_none_waits(tenant_id)?;
        let runner = Arc::clone(&self.runner);
        let start = move |payload: ClaimedPayload| {
            lease.used();
            in_progress.spawn(async move { attempt(&runner, &job, claimed, Some(payload), permit).await });
            drop(token);
        };
        Some(FirstAttempt { claim, start: Box::new(start) })
    }
}
