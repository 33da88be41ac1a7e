//! First attempts that begin with the acceptance of their webhook: `EventAccepted` and `DeliveryStarted` are appended by one
//! statement, and the request is sent when that is committed.
//!
//! That takes a dispatcher that leads in this process, which leases a permit of the destination ([`PermitLeases`]), and a
//! worker, which prepares the claim and makes the attempt. Without one of them, or when the claim is not granted, the webhook
//! is only accepted, and the dispatcher releases a job.

use std::fmt;
use std::sync::{Arc, OnceLock};

use aggregates::ids::{DestinationId, TenantId, WebhookEventId};

use super::attempt_claim::AttemptClaimItem;
use super::claimed_payload::ClaimedPayload;
use super::permit_leases::PermitLeases;

/// A webhook that is about to be accepted.
#[derive(Clone, Copy, Debug)]
pub struct NewEvent {
    pub event_id: WebhookEventId,
    pub tenant_id: TenantId,
    pub destination_id: DestinationId,
}

/// An attempt that is ready to start. When it is dropped, what it holds is released, and no request is sent.
pub struct FirstAttempt {
    /// The claim, at version 1 of the event.
    pub claim: AttemptClaimItem,
    /// Makes the attempt, which the log has.
    pub start: Box<dyn FnOnce(ClaimedPayload) + Send>,
}

/// Prepares first attempts: the worker of this process.
pub trait PreparesAttempts: Send + Sync {
    /// Returns the first attempt of an event, if it gets one of the `leases` and may start now. Does not wait.
    fn prepare(&self, event: NewEvent, leases: &PermitLeases) -> Option<FirstAttempt>;
}

/// The way of accepted webhooks to the worker of this process. Clones share it.
#[derive(Clone, Default)]
pub struct FirstAttempts {
    leases: PermitLeases,
    worker: Arc<OnceLock<Arc<dyn PreparesAttempts>>>,
}

impl FirstAttempts {
    /// Sets the worker that makes first attempts.
    pub fn made_by(&self, worker: Arc<dyn PreparesAttempts>) {
        // A process has one worker.
        drop(self.worker.set(worker));
    }

    #[must_use]
    pub fn leases(&self) -> &PermitLeases {
        &self.leases
    }

    pub(super) fn prepare(&self, event: NewEvent) -> Option<FirstAttempt> {
        self.worker.get()?.prepare(event, &self.leases)
    }
}

impl fmt::Debug for FirstAttempts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("FirstAttempts").field("leases", &self.leases).finish_non_exhaustive()
    }
}
