//! Permits on offer to the committer of webhooks of this process ([`crate::event_store::PermitLeases`]).
//!
//! The offer of a lane is withdrawn before permits of the lane are counted, and renewed afterwards if nothing waits. So jobs,
//! attempts and leases never exceed the limit together.

use aggregates::ids::{DestinationId, WebhookEventId};

use super::Schedule;
use crate::event_store::Lessor;

impl Schedule {
    /// Offers permits to first attempts from now on: all attempts in flight are known.
    pub(in crate::dispatcher) fn begin_leases(&mut self, lessor: Lessor) {
        self.lessor = Some(lessor);
        for id in self.lanes.keys().copied().collect::<Vec<_>>() {
            self.touch(id);
        }
    }

    /// Withdraws the offer of a lane, and counts its leases.
    pub(super) fn withdraw_offer(&mut self, id: DestinationId) {
        if let Some(lessor) = &self.lessor
            && let Some(lane) = self.lanes.get_mut(&id)
        {
            lane.leased = lessor.withdraw(id);
        }
    }

    /// Offers the permits of a lane in which nothing waits.
    pub(super) fn offer_permits(&self, id: DestinationId) {
        if let Some(lessor) = &self.lessor
            && let Some(lane) = self.lanes.get(&id)
            && lane.ready.is_empty()
            && self.takes_more_jobs()
            && lane.is_quiet(self.advanced_to)
        {
            lessor.offer(id, lane.available_permits(), lane.state.stage_version);
        }
    }

    /// Ends the lease of an event, if it has one: its attempt is counted.
    pub(super) fn settle_lease(&mut self, id: DestinationId, event_id: WebhookEventId) {
        if self.lessor.as_ref().is_some_and(|lessor| lessor.settle(id, event_id)) {
            self.touch(id);
        }
    }

    /// Counts the permits again of lanes with leases that were returned unused.
    pub(in crate::dispatcher) fn take_returned(&mut self) {
        let returned = self.lessor.as_ref().map(Lessor::returned);
        for id in returned.into_iter().flatten() {
            self.touch(id);
        }
    }

    /// Waits until a lease is returned unused.
    pub(in crate::dispatcher) fn lease_returned(&self) -> impl Future<Output = ()> + use<> {
        let returned = self.lessor.as_ref().map(Lessor::lease_returned);
        async move {
            match returned {
                Some(returned) => returned.await,
                None => std::future::pending().await,
            }
        }
    }
}
