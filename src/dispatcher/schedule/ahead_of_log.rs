//! Events whose acceptance was folded ahead of the log, because this process has accepted them itself.
//!
//! Until the log confirms them they are in memory only: a row in the tables beyond the checkpoint would look like an
//! event that waits, to a new leader that does not find its end any more. An event that the log does not confirm, after
//! a failover that lost the last commits, is forgotten.

use std::collections::{BTreeMap, HashSet};

use aggregates::ids::{DestinationId, WebhookEventId};
use chrono::{DateTime, Utc};
use projections::LogPosition;

use super::{OUTSTANDING_MAX, Schedule};
use crate::dispatcher::lane::Lane;
use crate::event_store::AcceptedEvent;

/// Events that the log has not confirmed yet, at most [`OUTSTANDING_MAX`].
#[derive(Debug, Default)]
pub(in crate::dispatcher) struct AheadOfLog {
    by_position: BTreeMap<LogPosition, (WebhookEventId, DestinationId)>,
    unconfirmed: HashSet<WebhookEventId>,
}

impl AheadOfLog {
    pub(super) fn contains(&self, id: WebhookEventId) -> bool {
        self.unconfirmed.contains(&id)
    }

    /// Notes that the log has this event.
    pub(in crate::dispatcher) fn confirm(&mut self, id: WebhookEventId) {
        self.unconfirmed.remove(&id);
    }

    fn add(&mut self, event: &AcceptedEvent) {
        self.by_position.insert(event.position, (event.event_id, event.destination_id));
        self.unconfirmed.insert(event.event_id);
    }

    /// Removes what the log up to `position` would have confirmed, and returns what it has not.
    fn settle_up_to(&mut self, position: LogPosition) -> Vec<(WebhookEventId, DestinationId)> {
        let mut missing = Vec::new();
        while let Some(first) = self.by_position.first_entry()
            && *first.key() <= position
        {
            let (id, destination_id) = first.remove();
            if self.unconfirmed.remove(&id) {
                missing.push((id, destination_id));
            }
        }
        missing
    }
}

impl Schedule {
    /// Folds the acceptance of an event that the log has beyond what was read. Returns whether it did: an event whose
    /// release would have to wait is left to the log, which has the order.
    pub(in crate::dispatcher) fn fold_ahead_of_log(
        &mut self,
        event: &AcceptedEvent,
        now: DateTime<Utc>,
    ) -> bool {
        self.withdraw_offer(event.destination_id);
        let is_quiet = |lane: &Lane| lane.is_quiet(now);
        if !self.takes_more_jobs()
            || self.ahead_of_log.unconfirmed.len() >= OUTSTANDING_MAX
            || !self.lanes.get(&event.destination_id).is_some_and(is_quiet)
        {
            self.touch(event.destination_id);
            return false;
        }
        self.ahead_of_log.add(event);
        self.fold_acceptance(event, false, now);
        true
    }

    /// Forgets events that the log up to `position`, which was folded, does not have.
    pub(in crate::dispatcher) fn forget_unconfirmed(&mut self, position: LogPosition) {
        for (id, destination_id) in self.ahead_of_log.settle_up_to(position) {
            tracing::error!(event.id = %id, "the log does not have an event that was accepted");
            self.settle(id, destination_id);
            self.changes.remove(&id);
        }
    }
}
