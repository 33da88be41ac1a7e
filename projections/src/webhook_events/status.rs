//! The status of a webhook event.

use aggregates::stored_enum;
use aggregates::webhook_event::WebhookEventFact;

stored_enum! {
    /// Progress of the delivery of a webhook event.
    pub enum EventStatus {
        /// Accepted or replayed; no attempt since.
        Pending = 0 => "Pending",
        /// An attempt is in progress.
        Processing = 1 => "Processing",
        /// Delivered.
        Succeeded = 2 => "Succeeded",
        /// An attempt failed, and the next fact of the same append says what follows. Read models show it only
        /// between two batches of facts.
        Failed = 3 => "Failed",
        /// Waits for its next attempt.
        WaitingRetry = 4 => "WaitingRetry",
        /// No attempts are left. Only a replay delivers the event.
        CriticalFailure = 5 => "CriticalFailure",
        /// Never delivered.
        Cancelled = 6 => "Cancelled",
    }
}

impl EventStatus {
    /// Returns the status of an event after a fact; `None`: the fact does not change it.
    #[must_use]
    pub fn after(fact: &WebhookEventFact) -> Option<Self> {
        use WebhookEventFact as Fact;
        match fact {
            Fact::EventAccepted(_) | Fact::Replayed { .. } => Some(Self::Pending),
            Fact::DeliveryStarted { .. } => Some(Self::Processing),
            Fact::DeliveryAttempted { report, .. } if report.outcome.is_success() => Some(Self::Succeeded),
            Fact::DeliveryAttempted { .. } => Some(Self::Failed),
            Fact::RetryScheduled { .. } => Some(Self::WaitingRetry),
            Fact::CriticalFailure { .. } => Some(Self::CriticalFailure),
            Fact::Cancelled { .. } => Some(Self::Cancelled),
            Fact::PayloadErased { .. } => None,
        }
    }
}

/// The sets of statuses. SQL has them as the functions `event_status_is_waiting` and `event_status_is_final`.
impl EventStatus {
    /// Returns whether the event waits for an attempt, and can be cancelled.
    #[must_use]
    pub fn is_waiting(self) -> bool {
        matches!(self, Self::Pending | Self::WaitingRetry)
    }

    /// Returns whether the event has no further attempt unless it is replayed, so that retention may remove it.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::CriticalFailure | Self::Cancelled)
    }
}
