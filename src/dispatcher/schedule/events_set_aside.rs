//! Events that are set aside because the log has a fact of theirs that cannot be read.

use aggregates::ids::WebhookEventId;

use super::{Change, Schedule};
use crate::clock::Present;
use crate::dispatcher::due_deliveries::DueDelivery;
use crate::dispatcher::set_aside::SetAside;

impl Schedule {
    /// Sets an event aside, in any state. Its attempt in flight no longer counts, because its end will not be read.
    pub(in crate::dispatcher) fn set_aside(&mut self, event: SetAside) {
        let id = event.event_id;
        if let Some(tracked) = self.tracked.get(&id) {
            self.settle(id, tracked.delivery.destination_id);
        }
        self.ahead_of_log.confirm(id);
        self.changes.insert(id, Change { row: None, persisted: true });
        self.set_aside.insert(id);
        self.new_set_aside.push(event);
    }

    /// Adds an event that the table has as set aside.
    pub(in crate::dispatcher) fn keep_aside(&mut self, id: WebhookEventId) {
        self.set_aside.insert(id);
    }

    pub(in crate::dispatcher) fn is_set_aside(&self, id: WebhookEventId) -> bool {
        self.set_aside.contains(&id)
    }

    /// Returns the number of events that are set aside.
    pub(in crate::dispatcher) fn set_aside_len(&self) -> usize {
        self.set_aside.len()
    }

    /// Continues an event that was set aside. `due` is what is due of it; `None`: it has ended.
    pub(in crate::dispatcher) fn restore(
        &mut self,
        id: WebhookEventId,
        due: Option<DueDelivery>,
        now: Present,
    ) {
        self.restored.push(id.0);
        let Some(delivery) = due else { return };
        self.changes.insert(id, Change { row: Some(delivery.clone()), persisted: false });
        match delivery.started {
            Some(_) => self.add_in_flight(delivery, now.boot),
            None => self.admit(delivery, now.wall),
        }
    }
}
