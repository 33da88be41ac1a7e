//! What sources send to the model, and what its own process accepts.

use aggregates::destination::Destination;
use aggregates::ids::{DestinationId, WebhookEventId};
use aggregates_testing::{accepted, started};
use uuid::Uuid;

use super::model::Model;
use crate::event_store::{AcceptedEvent, PermitLease};

/// An event that is about to be accepted in the dispatcher's process.
pub(super) struct Prepared {
    event_id: WebhookEventId,
    pub(super) destination_id: DestinationId,
    lease: Option<PermitLease>,
}

impl Model {
    pub(super) fn accept(&mut self, destination_id: DestinationId) -> WebhookEventId {
        let id = self.next_event();
        self.accept_as(id, destination_id);
        id
    }

    /// Returns the id of an event that may be accepted later.
    fn next_event(&mut self) -> WebhookEventId {
        self.event_ids += 1;
        WebhookEventId(Uuid::from_u128(0xe000_0000 + self.event_ids))
    }

    fn accept_as(&mut self, id: WebhookEventId, destination_id: DestinationId) {
        let Destination::Registered(registered) = &self.destinations[&destination_id].state else {
            panic!("it is registered")
        };
        let (tenant_id, at) = (registered.tenant_id, self.now + self.others_ahead);
        let accept = accepted().tenant(tenant_id).destination(destination_id).at(at);
        self.execute(id, accept.command());
        let position = self.log.last().expect("its fact").position;
        self.accepted.push(AcceptedEvent { position, event_id: id, tenant_id, destination_id, at });
    }

    /// Prepares the acceptance of an event in the dispatcher's process, with a lease for its first attempt if there is an offer.
    pub(super) fn prepare(&mut self, destination_id: DestinationId) -> Prepared {
        let event_id = self.next_event();
        let lease = self.leases.take(destination_id, event_id);
        Prepared { event_id, destination_id, lease }
    }

    /// Accepts an event that was prepared, and starts its first attempt if it has a lease and the claim is valid. If the answer
    /// of the database is lost, no request is sent. Returns whether one is.
    pub(super) fn accept_prepared(&mut self, prepared: Prepared, is_answered: bool) -> bool {
        let Prepared { event_id, destination_id, lease } = prepared;
        self.accept_as(event_id, destination_id);
        let stage_version = self.destinations[&destination_id].stage_version;
        let granted = lease.filter(|lease| (lease.epoch, lease.stage_version) == (self.epoch, stage_version));
        let Some(lease) = granted else { return false };
        let start = started().at(self.now + self.others_ahead);
        assert!(self.execute(event_id, start.command()), "it was just accepted");
        self.claimed_at.insert(event_id, self.boot);
        // The dispatcher finds it in the log.
        self.accepted.pop();
        if is_answered {
            lease.used();
        } else {
            self.never_sent.insert(event_id);
        }
        is_answered
    }

    /// Accepts an event in the dispatcher's process. Returns its id if its first attempt was started with it.
    pub(super) fn accept_here(&mut self, destination_id: DestinationId) -> Option<WebhookEventId> {
        let prepared = self.prepare(destination_id);
        let event_id = prepared.event_id;
        self.accept_prepared(prepared, true).then_some(event_id)
    }

    pub(super) fn accept_many(&mut self, destination_id: DestinationId, count: usize) -> Vec<WebhookEventId> {
        (0..count).map(|_| self.accept(destination_id)).collect()
    }
}
