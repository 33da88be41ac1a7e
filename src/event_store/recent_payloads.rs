//! Payloads that this process has just accepted, for its own worker.
//!
//! The first attempt usually follows within milliseconds, and reading the payload again would be one more query for
//! every webhook. A claim that was granted proves that the payload was not erased: an erasure and a claim exclude each
//! other in the event's stream. What is not found here is read from the database.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use aggregates::ids::{TenantId, WebhookEventId};

use super::claimed_payload::{ClaimedEvent, ClaimedPayload};

/// Maximum number of payloads. Webhooks that wait for longer than this many others take to be accepted are read from
/// the database.
const PAYLOADS_MAX: usize = 4_096;
/// Maximum size of the small payloads, in bytes, and of the large ones, which would crowd out many small ones. Reading one
/// megabyte again takes 2 ms of the processors.
const BYTES_MAX: usize = 16 << 20;
/// Size from which on a payload is large.
const LARGE_BYTES: usize = 64 << 10;
/// Size up to which a payload is kept.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// The payloads accepted last. Each is taken once. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct RecentPayloads(Arc<Sizes>);

#[derive(Debug, Default)]
struct Sizes {
    small: Mutex<Kept>,
    large: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    payloads: HashMap<WebhookEventId, (TenantId, ClaimedPayload)>,
    /// The oldest first, with those that were taken.
    order: VecDeque<WebhookEventId>,
    bytes: usize,
}

impl RecentPayloads {
    /// Keeps a payload until it is taken, or until too many are kept.
    pub fn keep(&self, event: ClaimedEvent, payload: ClaimedPayload) {
        let kept = match payload.bytes.len() {
            0..LARGE_BYTES => &self.0.small,
            LARGE_BYTES..=KEPT_BYTES_MAX => &self.0.large,
            _ => return,
        };
        kept.lock().unwrap_or_else(PoisonError::into_inner).keep(event, payload);
    }

    /// Removes and returns the payload of an event of this tenant.
    #[must_use]
    pub fn take(&self, event: ClaimedEvent) -> Option<ClaimedPayload> {
        let take = |kept: &Mutex<Kept>| kept.lock().unwrap_or_else(PoisonError::into_inner).take(event);
        take(&self.0.small).or_else(|| take(&self.0.large))
    }
}

impl Kept {
    fn keep(&mut self, event: ClaimedEvent, payload: ClaimedPayload) {
        self.bytes += payload.bytes.len();
        if let Some((_, before)) = self.payloads.insert(event.event_id, (event.tenant_id, payload)) {
            self.bytes -= before.bytes.len();
        }
        self.order.push_back(event.event_id);
        while self.order.len() > PAYLOADS_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else { break };
            self.remove(oldest);
        }
    }

    fn take(&mut self, event: ClaimedEvent) -> Option<ClaimedPayload> {
        let (tenant_id, _) = self.payloads.get(&event.event_id)?;
        if *tenant_id != event.tenant_id {
            return None;
        }
        self.remove(event.event_id)
    }

    fn remove(&mut self, event_id: WebhookEventId) -> Option<ClaimedPayload> {
        let (_, payload) = self.payloads.remove(&event_id)?;
        self.bytes -= payload.bytes.len();
        Some(payload)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use uuid::Uuid;

    use super::*;

    fn event(number: u128) -> ClaimedEvent {
        ClaimedEvent {
            event_id: WebhookEventId(Uuid::from_u128(number)),
            tenant_id: TenantId(Uuid::from_u128(1)),
        }
    }

    fn payload(size: usize) -> ClaimedPayload {
        ClaimedPayload { bytes: Bytes::from(vec![7; size]), hops: 2 }
    }

    #[test]
    fn a_payload_is_taken_once_and_by_its_tenant_only() {
        let recent = RecentPayloads::default();
        recent.keep(event(1), payload(3));
        let of_another = ClaimedEvent { tenant_id: TenantId(Uuid::from_u128(2)), ..event(1) };
        assert_eq!(recent.take(of_another), None);
        assert_eq!(recent.take(event(1)), Some(payload(3)));
        assert_eq!(recent.take(event(1)), None);
    }

    #[test]
    fn large_payloads_crowd_out_no_small_ones_and_the_largest_are_not_kept() {
        let recent = RecentPayloads::default();
        recent.keep(event(0), payload(LARGE_BYTES - 1));
        for number in 1..=30 {
            recent.keep(event(number), payload(1 << 20));
        }
        recent.keep(event(31), payload(KEPT_BYTES_MAX + 1));
        assert_eq!(recent.take(event(31)), None);
        assert_eq!(recent.take(event(14)), None);
        assert_eq!(recent.take(event(15)), Some(payload(1 << 20)));
        assert!(recent.take(event(0)).is_some());
    }

    #[test]
    fn the_oldest_give_way() {
        let mut kept = Kept::default();
        for number in 0..=PAYLOADS_MAX as u128 {
            kept.keep(event(number), payload(1));
        }
        assert_eq!((kept.take(event(0)), kept.bytes), (None, PAYLOADS_MAX));
        assert_eq!(kept.take(event(1)), Some(payload(1)));

        let mut kept = Kept::default();
        for number in 0..40 {
            kept.keep(event(number), payload(1 << 20));
        }
        assert_eq!((kept.payloads.len(), kept.bytes), (16, BYTES_MAX));
        assert_eq!(kept.take(event(23)), None);
        assert!(kept.take(event(24)).is_some());
    }

    #[test]
    fn payloads_that_are_taken_leave_nothing_behind() {
        let mut kept = Kept::default();
        for number in 0..3 * PAYLOADS_MAX as u128 {
            kept.keep(event(number), payload(9));
            assert!(kept.take(event(number)).is_some());
        }
        assert_eq!((kept.payloads.len(), kept.bytes), (0, 0));
        assert!(kept.order.len() <= PAYLOADS_MAX);
    }
}
