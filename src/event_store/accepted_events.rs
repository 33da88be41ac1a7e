//! Webhooks that this process has accepted, handed to the dispatcher of the same process.
//!
//! The dispatcher would find them in the log a moment later, after a query. Only a process whose dispatcher leads has
//! a receiver. What is handed over is on disk, and the log has it too: the dispatcher may drop it.

use std::sync::{Arc, Mutex, PoisonError};

use aggregates::ids::{DestinationId, TenantId, WebhookEventId};
use chrono::{DateTime, Utc};
use projections::LogPosition;
use tokio::sync::mpsc;

/// Batches that wait for the dispatcher. It finds further ones in the log.
const BATCHES_MAX: usize = 64;

/// A webhook whose `EventAccepted` is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptedEvent {
    /// Position of the fact.
    pub position: LogPosition,
    pub event_id: WebhookEventId,
    pub tenant_id: TenantId,
    pub destination_id: DestinationId,
    /// When it was accepted.
    pub at: DateTime<Utc>,
}

/// The way of accepted webhooks to the dispatcher. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct AcceptedEvents(Arc<Mutex<Option<mpsc::Sender<Vec<AcceptedEvent>>>>>);

impl AcceptedEvents {
    /// Returns a receiver of what is accepted from now on. An earlier receiver gets nothing more.
    #[must_use]
    pub fn receive(&self) -> mpsc::Receiver<Vec<AcceptedEvent>> {
        let (sender, receiver) = mpsc::channel(BATCHES_MAX);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        receiver
    }

    /// Hands over what one commit has accepted. Returns whether a dispatcher of this process receives it.
    pub fn hand_over(&self, events: Vec<AcceptedEvent>) -> bool {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sender.as_ref().is_some_and(|sender| sender.try_send(events).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_handed_over_while_there_is_a_receiver() {
        let events = AcceptedEvents::default();
        assert!(!events.hand_over(vec![]), "no dispatcher leads here");
        let mut before = events.receive();
        let mut receiver = events.receive();
        assert!(events.hand_over(vec![]));
        assert!(before.try_recv().is_err());
        assert_eq!(receiver.try_recv(), Ok(vec![]));
        drop(receiver);
        assert!(!events.hand_over(vec![]), "the term is over");
    }

    #[test]
    fn what_a_busy_dispatcher_does_not_take_is_left_to_the_log() {
        let events = AcceptedEvents::default();
        let _receiver = events.receive();
        let taken = (0..BATCHES_MAX + 5).filter(|_| events.hand_over(vec![])).count();
        assert_eq!(taken, BATCHES_MAX);
    }
}
