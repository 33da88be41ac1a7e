//! Webhooks that this process has accepted, handed to the dispatcher of the same process.
//!
//! The dispatcher would find them in the log a moment later, after a query. Only a process whose dispatcher leads has
//! a receiver. What is handed over is on disk, and the log has it too: the dispatcher may drop it.
//!
//! In return the dispatcher says how many of its jobs wait to start, so that no more is accepted than it can deliver.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
pub struct AcceptedEvents(Arc<Mutex<Option<Handover>>>);

/// The way to the dispatcher of one term.
#[derive(Debug)]
struct Handover {
    batches: mpsc::Sender<Vec<AcceptedEvent>>,
    /// Number of events that the dispatcher has not received yet.
    not_received: Arc<AtomicUsize>,
    /// Number of jobs that the dispatcher has released and that have not started.
    not_started: usize,
}

/// The dispatcher's end.
#[derive(Debug)]
pub struct AcceptedEventsReceiver {
    batches: mpsc::Receiver<Vec<AcceptedEvent>>,
    not_received: Arc<AtomicUsize>,
}

impl AcceptedEvents {
    /// Returns a receiver of what is accepted from now on. An earlier receiver gets nothing more.
    #[must_use]
    pub fn receive(&self) -> AcceptedEventsReceiver {
        let (sender, batches) = mpsc::channel(BATCHES_MAX);
        let not_received = Arc::<AtomicUsize>::default();
        let handover = Handover { batches: sender, not_received: Arc::clone(&not_received), not_started: 0 };
        *self.handover() = Some(handover);
        AcceptedEventsReceiver { batches, not_received }
    }

    /// Hands over what one commit has accepted. Returns whether a dispatcher of this process receives it.
    pub fn hand_over(&self, events: Vec<AcceptedEvent>) -> bool {
        let handover = self.handover();
        let Some(Handover { batches, not_received, .. }) = &*handover else { return false };
        let count = events.len();
        // Before the dispatcher can subtract it.
        not_received.fetch_add(count, Ordering::Relaxed);
        let is_received = batches.try_send(events).is_ok();
        if !is_received {
            not_received.fetch_sub(count, Ordering::Relaxed);
        }
        is_received
    }

    /// Notes how many jobs the dispatcher has released that have not started, and soon will.
    pub fn note_not_started(&self, count: usize) {
        if let Some(handover) = &mut *self.handover() {
            handover.not_started = count;
        }
    }

    /// Returns how many accepted events wait for the dispatcher of this process, or for the start of their attempt; 0 if
    /// it does not lead.
    #[must_use]
    pub fn undelivered(&self) -> usize {
        match &*self.handover() {
            Some(handover) if !handover.batches.is_closed() => {
                handover.not_received.load(Ordering::Relaxed) + handover.not_started
            }
            _ => 0,
        }
    }

    fn handover(&self) -> MutexGuard<'_, Option<Handover>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AcceptedEventsReceiver {
    /// Returns what the next commit has accepted; `None` when there is another receiver.
    pub async fn recv(&mut self) -> Option<Vec<AcceptedEvent>> {
        let events = self.batches.recv().await?;
        self.not_received.fetch_sub(events.len(), Ordering::Relaxed);
        Some(events)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn batch(count: usize) -> Vec<AcceptedEvent> {
        let event = AcceptedEvent {
            position: LogPosition::default(),
            event_id: WebhookEventId(Uuid::nil()),
            tenant_id: TenantId(Uuid::nil()),
            destination_id: DestinationId(Uuid::nil()),
            at: DateTime::default(),
        };
        vec![event; count]
    }

    #[tokio::test]
    async fn events_are_handed_over_while_there_is_a_receiver() {
        let events = AcceptedEvents::default();
        assert!(!events.hand_over(batch(1)), "no dispatcher leads here");
        let mut before = events.receive();
        let mut receiver = events.receive();
        assert!(events.hand_over(batch(2)));
        assert_eq!(before.recv().await, None);
        assert_eq!(receiver.recv().await, Some(batch(2)));
        drop(receiver);
        assert!(!events.hand_over(batch(1)), "the term is over");
    }

    #[test]
    fn what_a_busy_dispatcher_does_not_take_is_left_to_the_log() {
        let events = AcceptedEvents::default();
        let _receiver = events.receive();
        let taken = (0..BATCHES_MAX + 5).filter(|_| events.hand_over(batch(1))).count();
        assert_eq!(taken, BATCHES_MAX);
        assert_eq!(events.undelivered(), BATCHES_MAX);
    }

    #[tokio::test]
    async fn events_are_undelivered_until_their_attempts_start_or_the_term_ends() {
        let events = AcceptedEvents::default();
        events.note_not_started(9);
        assert_eq!(events.undelivered(), 0, "no dispatcher leads here");
        let mut receiver = events.receive();
        assert!(events.hand_over(batch(3)) && events.hand_over(batch(4)));
        assert_eq!(events.undelivered(), 7);
        receiver.recv().await;
        events.note_not_started(2);
        assert_eq!(events.undelivered(), 6);
        drop(receiver);
        assert_eq!(events.undelivered(), 0);
    }
}
