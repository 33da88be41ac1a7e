//! Leases of destinations' permits, which the dispatcher grants to the committer of webhooks of its process.
//!
//! The first attempt of a webhook usually begins at once. If its destination has a permit at that moment, the acceptance and
//! the claim of the attempt are appended together, which saves a commit, a job, and a turn of the dispatcher. The dispatcher
//! offers the permits of destinations at which nothing waits, withdraws an offer when it needs the permits itself, and counts
//! a leased permit as used until it has folded the fact that starts the attempt.
//!
//! A lease ends with the term of the dispatcher: the statement that appends the claim checks the epoch, as it does for jobs.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aggregates::ids::{DestinationId, WebhookEventId};
use tokio::sync::Notify;

/// Offers and leases of this process. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct PermitLeases(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    term: Mutex<Term>,
    returned: Notify,
}

#[derive(Debug, Default)]
struct Term {
    /// `None`: no dispatcher of this process leads.
    epoch: Option<u64>,
    destinations: HashMap<DestinationId, OfDestination>,
    /// Destinations with leases that were returned unused.
    returned: HashSet<DestinationId>,
}

#[derive(Debug, Default)]
struct OfDestination {
    /// Number of permits on offer.
    offered: usize,
    stage_version: u64,
    /// Events with a lease whose start the dispatcher has not folded.
    leased: HashSet<WebhookEventId>,
}

/// The dispatcher's end, for one term. When it is dropped, nothing is on offer.
#[derive(Debug)]
pub struct Lessor {
    leases: PermitLeases,
    epoch: u64,
}

/// Lease of a permit for the first attempt of one event. When it is dropped unused, it is returned.
#[derive(Debug)]
pub struct PermitLease {
    leases: PermitLeases,
    event_id: WebhookEventId,
    destination_id: DestinationId,
    /// Epoch of the dispatcher that grants it.
    pub epoch: u64,
    /// Version at which the destination entered its stage or got its limit.
    pub stage_version: u64,
    is_used: bool,
}

impl PermitLeases {
    /// Begins a term, which ends all leases of earlier ones.
    #[must_use]
    pub fn begin_term(&self, epoch: u64) -> Lessor {
        *self.term() = Term { epoch: Some(epoch), ..Term::default() };
        Lessor { leases: self.clone(), epoch }
    }

    /// Takes a lease for the first attempt of an event that is about to be accepted; `None` if no permit is on offer.
    #[must_use]
    pub fn take(&self, destination_id: DestinationId, event_id: WebhookEventId) -> Option<PermitLease> {
        let mut term = self.term();
        let epoch = term.epoch?;
        let destination = term.destinations.get_mut(&destination_id)?;
        // Two webhooks with one idempotency key are one event.
        if destination.offered == 0 || !destination.leased.insert(event_id) {
            return None;
        }
        destination.offered -= 1;
        let (stage_version, leases) = (destination.stage_version, self.clone());
        Some(PermitLease { leases, event_id, destination_id, epoch, stage_version, is_used: false })
    }

    fn term(&self) -> MutexGuard<'_, Term> {
        // No change can panic halfway.
        self.0.term.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PermitLease {
    /// Leaves the permit to the attempt, whose start is in the log: the dispatcher counts it when it folds that fact.
    pub fn used(mut self) {
        self.is_used = true;
    }
}

impl Drop for PermitLease {
    fn drop(&mut self) {
        if self.is_used {
            return;
        }
        let mut term = self.leases.term();
        if term.epoch == Some(self.epoch)
            && let Some(destination) = term.destinations.get_mut(&self.destination_id)
            && destination.leased.remove(&self.event_id)
        {
            term.returned.insert(self.destination_id);
            self.leases.0.returned.notify_one();
        }
    }
}

impl Lessor {
    /// Offers `count` permits of a destination, instead of those on offer. Its stage is that of `stage_version`.
    pub fn offer(&self, destination_id: DestinationId, count: usize, stage_version: u64) {
        self.in_term(|term| {
            let destination = term.destinations.entry(destination_id).or_default();
            (destination.offered, destination.stage_version) = (count, stage_version);
        });
    }

    /// Withdraws the offer of a destination. Returns the number of its leases.
    pub fn withdraw(&self, destination_id: DestinationId) -> usize {
        self.in_term(|term| {
            let Some(destination) = term.destinations.get_mut(&destination_id) else { return 0 };
            destination.offered = 0;
            let leased = destination.leased.len();
            if leased == 0 {
                term.destinations.remove(&destination_id);
            }
            leased
        })
    }

    /// Ends the lease of an event, whose attempt the dispatcher counts itself from now on. Returns whether it had one.
    pub fn settle(&self, destination_id: DestinationId, event_id: WebhookEventId) -> bool {
        self.in_term(|term| {
            let destination = term.destinations.get_mut(&destination_id);
            destination.is_some_and(|destination| destination.leased.remove(&event_id))
        })
    }

    /// Removes and returns the destinations with leases that were returned unused.
    #[must_use]
    pub fn returned(&self) -> HashSet<DestinationId> {
        self.in_term(|term| std::mem::take(&mut term.returned))
    }

    /// Waits until a lease is returned unused.
    pub fn lease_returned(&self) -> impl Future<Output = ()> + use<> {
        let shared = Arc::clone(&self.leases.0);
        async move { shared.returned.notified().await }
    }

    /// Returns the number of leases of a destination.
    #[cfg(test)]
    pub(crate) fn leased(&self, destination_id: DestinationId) -> usize {
        self.in_term(|term| term.destinations.get(&destination_id).map_or(0, |of| of.leased.len()))
    }

    /// Does nothing once another term has begun.
    fn in_term<T: Default>(&self, access: impl FnOnce(&mut Term) -> T) -> T {
        let mut term = self.leases.term();
        if term.epoch == Some(self.epoch) { access(&mut term) } else { T::default() }
    }
}

impl Drop for Lessor {
    fn drop(&mut self) {
        self.in_term(|term| *term = Term::default());
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const D: DestinationId = DestinationId(Uuid::from_u128(1));

    fn event(number: u128) -> WebhookEventId {
        WebhookEventId(Uuid::from_u128(number))
    }

    #[test]
    fn there_are_leases_only_during_a_term() {
        let leases = PermitLeases::default();
        assert!(leases.take(D, event(1)).is_none());
        let lessor = leases.begin_term(3);
        assert!(leases.take(D, event(1)).is_none());
        lessor.offer(D, 1, 7);
        let lease = leases.take(D, event(1)).unwrap();
        assert_eq!((lease.epoch, lease.stage_version), (3, 7));
        lease.used();
        lessor.offer(D, 1, 7);
        drop(lessor);
        assert!(leases.take(D, event(2)).is_none());
    }

    #[test]
    fn there_are_no_more_leases_than_offers_and_an_event_has_one() {
        let leases = PermitLeases::default();
        let lessor = leases.begin_term(1);
        lessor.offer(D, 2, 1);
        let first = leases.take(D, event(1));
        assert!(first.is_some() && leases.take(D, event(1)).is_none());
        let second = leases.take(D, event(2));
        assert!(second.is_some() && leases.take(D, event(3)).is_none());
    }

    #[test]
    fn a_lease_that_was_used_lasts_until_the_dispatcher_counts_the_attempt() {
        let leases = PermitLeases::default();
        let lessor = leases.begin_term(1);
        lessor.offer(D, 9, 1);
        leases.take(D, event(1)).unwrap().used();
        assert_eq!(lessor.withdraw(D), 1);
        assert!(leases.take(D, event(2)).is_none(), "the offer was withdrawn");
        assert!(lessor.settle(D, event(1)) && !lessor.settle(D, event(1)));
        assert_eq!(lessor.withdraw(D), 0);
    }

    #[tokio::test]
    async fn a_lease_that_was_not_used_is_returned() {
        let leases = PermitLeases::default();
        let lessor = leases.begin_term(1);
        lessor.offer(D, 1, 1);
        drop(leases.take(D, event(1)).unwrap());
        lessor.lease_returned().await;
        assert_eq!(lessor.returned(), HashSet::from([D]));
        assert_eq!(lessor.withdraw(D), 0);
        assert!(lessor.returned().is_empty());
    }

    #[test]
    fn leases_of_an_earlier_term_are_void() {
        let leases = PermitLeases::default();
        let earlier = leases.begin_term(1);
        earlier.offer(D, 1, 1);
        let old = leases.take(D, event(1)).unwrap();
        let lessor = leases.begin_term(2);
        earlier.offer(D, 9, 1);
        assert!(leases.take(D, event(2)).is_none());
        lessor.offer(D, 1, 1);
        let _new = leases.take(D, event(1)).unwrap();
        drop(old);
        drop(earlier);
        assert_eq!(lessor.withdraw(D), 1);
        assert!(lessor.returned().is_empty());
    }
}
