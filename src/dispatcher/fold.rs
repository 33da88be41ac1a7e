//! Folding facts into the schedule, in the order of the log. A fact that was folded before changes
//! nothing that matters: versions only grow, and sets hold an event once.

use std::collections::HashMap;

use aggregates::destination::DestinationFact;
use aggregates::fact::Fact;
use aggregates::ids::{DestinationId, WebhookEventId};
use aggregates::webhook_event::WebhookEventFact;
use chrono::{DateTime, Utc};
use projections::LoggedFact;
use uuid::Uuid;

use super::due_deliveries::DueDelivery;
use super::lane::Lane;
use super::schedule::{Change, Schedule};

/// Rows fetched for a batch of facts, because memory does not hold them.
pub(super) type Fetched = HashMap<WebhookEventId, DueDelivery>;

impl Schedule {
    /// The events and the lanes that a batch speaks of and memory does not hold.
    pub(super) fn missing(&self, facts: &[LoggedFact]) -> (Vec<Uuid>, Vec<Uuid>) {
        let (mut events, mut lanes) = (Vec::new(), Vec::new());
        for logged in facts {
            match &logged.fact {
                Fact::WebhookEvent(fact) => {
                    let id = WebhookEventId(logged.stream_id);
                    let is_new = matches!(fact, WebhookEventFact::EventAccepted(_));
                    if !is_new && !self.open.contains_key(&id) && !self.changes.contains_key(&id) {
                        events.push(id.0);
                    }
                    if let Some(destination) = destination_of(fact)
                        && !self.lanes.contains_key(&destination)
                    {
                        lanes.push(destination.0);
                    }
                }
                Fact::Destination(_) if !self.lanes.contains_key(&DestinationId(logged.stream_id)) => {
                    lanes.push(logged.stream_id);
                }
                _ => {}
            }
        }
        for ids in [&mut events, &mut lanes] {
            ids.sort_unstable();
            ids.dedup();
        }
        (events, lanes)
    }

    /// Folds one fact.
    pub(super) fn fold(&mut self, logged: &LoggedFact, fetched: &Fetched, now: DateTime<Utc>) {
        match &logged.fact {
            Fact::WebhookEvent(fact) => self.fold_webhook_event(logged, fact, fetched, now),
            Fact::Destination(fact) => self.fold_destination(logged, fact),
            _ => {}
        }
    }

    fn fold_destination(&mut self, logged: &LoggedFact, fact: &DestinationFact) {
        let id = DestinationId(logged.stream_id);
        if let DestinationFact::DestinationRegistered { tenant_id, concurrency_limit, .. } = fact {
            self.lanes.entry(id).or_insert_with(|| Lane::of_new_destination(*tenant_id, *concurrency_limit));
        }
        if let Some(lane) = self.lanes.get_mut(&id) {
            let entered = lane.fold(fact, logged.sequence);
            self.changed_lanes.insert(id);
            if entered {
                self.recall(id);
            }
        }
        self.touch(id);
    }

    fn fold_webhook_event(
        &mut self,
        logged: &LoggedFact,
        fact: &WebhookEventFact,
        fetched: &Fetched,
        now: DateTime<Utc>,
    ) {
        use WebhookEventFact as Fact;
        let event_id = WebhookEventId(logged.stream_id);
        let (known, persisted) = self.known(event_id, fetched);
        if known.as_ref().is_some_and(|known| known.stream_version >= logged.sequence) {
            return;
        }
        let stream_version = logged.sequence;
        match (fact, known) {
            (Fact::EventAccepted(acceptance), _) => {
                let delivery = DueDelivery {
                    event_id,
                    tenant_id: acceptance.tenant_id,
                    destination_id: acceptance.destination_id,
                    due_at: acceptance.at,
                    stream_version,
                    attempts: 0,
                    failed_attempts: 0,
                    unknown_in_a_row: 0,
                    started_at: None,
                };
                self.write(delivery.clone(), persisted);
                self.admit(delivery, now.max(acceptance.at));
            }
            (Fact::Replayed { destination_id, attempts, at }, _) => {
                let delivery = DueDelivery {
                    event_id,
                    tenant_id: logged.tenant_id,
                    destination_id: *destination_id,
                    due_at: *at,
                    stream_version,
                    attempts: *attempts,
                    failed_attempts: 0,
                    unknown_in_a_row: 0,
                    started_at: None,
                };
                self.write(delivery.clone(), persisted);
                self.admit(delivery, now.max(*at));
            }
            (Fact::DeliveryStarted { attempt, at, .. }, Some(known)) => {
                let delivery =
                    DueDelivery { stream_version, attempts: *attempt, started_at: Some(*at), ..known };
                self.write(delivery.clone(), persisted);
                self.start(delivery, *at);
            }
            (Fact::DeliveryAttempted { failed_attempts, unknown_in_a_row, report, at, .. }, Some(known)) => {
                let destination_id = known.destination_id;
                if let Some(lane) = self.lanes.get_mut(&destination_id) {
                    lane.attempted(report.outcome.is_success(), report.outcome.counts_as_failure());
                    self.changed_lanes.insert(destination_id);
                }
                self.settle(event_id, destination_id);
                if report.outcome.is_success() {
                    self.forget(event_id, persisted);
                } else {
                    // What follows, a retry or the end, is the next fact of this stream.
                    let failed_attempts = *failed_attempts;
                    let settled = DueDelivery {
                        stream_version,
                        failed_attempts,
                        unknown_in_a_row: *unknown_in_a_row,
                        started_at: None,
                        due_at: *at,
                        ..known
                    };
                    self.write(settled, persisted);
                }
            }
            (Fact::RetryScheduled { retry_at, failed_attempts, .. }, Some(known)) => {
                let delivery = DueDelivery {
                    stream_version,
                    due_at: *retry_at,
                    failed_attempts: *failed_attempts,
                    started_at: None,
                    ..known
                };
                self.settle(event_id, delivery.destination_id);
                self.write(delivery.clone(), persisted);
                self.admit(delivery, now);
            }
            (Fact::CriticalFailure { .. } | Fact::Cancelled { .. }, Some(known)) => {
                self.settle(event_id, known.destination_id);
                self.forget(event_id, persisted);
            }
            // The event came to its end before: these are facts that were folded already.
            (
                Fact::DeliveryStarted { .. }
                | Fact::DeliveryAttempted { .. }
                | Fact::RetryScheduled { .. }
                | Fact::CriticalFailure { .. }
                | Fact::Cancelled { .. },
                None,
            )
            | (Fact::PayloadErased { .. }, _) => {}
        }
    }

    /// What is known of an event, and whether the table has a row of it.
    fn known(&self, event_id: WebhookEventId, fetched: &Fetched) -> (Option<DueDelivery>, bool) {
        if let Some(change) = self.changes.get(&event_id) {
            return (change.row.clone(), change.persisted);
        }
        let row = self.open.get(&event_id).map(|open| &open.delivery).or_else(|| fetched.get(&event_id));
        (row.cloned(), row.is_some())
    }

    fn write(&mut self, row: DueDelivery, persisted: bool) {
        self.changes.insert(row.event_id, Change { row: Some(row), persisted });
    }

    fn forget(&mut self, event_id: WebhookEventId, persisted: bool) {
        if persisted {
            self.changes.insert(event_id, Change { row: None, persisted });
        } else {
            self.changes.remove(&event_id);
        }
    }
}

fn destination_of(fact: &WebhookEventFact) -> Option<DestinationId> {
    use WebhookEventFact as Fact;
    match fact {
        Fact::EventAccepted(acceptance) => Some(acceptance.destination_id),
        Fact::DeliveryStarted { destination_id, .. }
        | Fact::DeliveryAttempted { destination_id, .. }
        | Fact::RetryScheduled { destination_id, .. }
        | Fact::CriticalFailure { destination_id, .. }
        | Fact::Replayed { destination_id, .. }
        | Fact::Cancelled { destination_id, .. } => Some(*destination_id),
        Fact::PayloadErased { .. } => None,
    }
}
