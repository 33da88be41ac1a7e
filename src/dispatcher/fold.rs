//! Folding facts into the schedule, in the order of the log. Folding a fact twice changes nothing: versions
//! only grow, and sets hold an event once.

use std::collections::HashMap;

use aggregates::destination::DestinationFact;
use aggregates::fact::Fact;
use aggregates::ids::{DestinationId, TenantId, WebhookEventId};
use aggregates::webhook_event::WebhookEventFact;
use chrono::{DateTime, Utc};
use projections::LoggedFact;
use uuid::Uuid;

use super::due_deliveries::{DueDelivery, StartedAttempt};
use super::lane::Lane;
use super::schedule::{Change, Schedule};
use crate::clock::Present;
use crate::event_store::AcceptedEvent;

/// Rows fetched for a page of facts, because memory does not hold them.
pub(super) type Fetched = HashMap<WebhookEventId, DueDelivery>;

impl Schedule {
    /// Returns the events and the lanes that `facts` refer to and memory does not hold.
    pub(super) fn missing(&self, facts: &[LoggedFact]) -> (Vec<Uuid>, Vec<Uuid>) {
        let (mut events, mut lanes) = (Vec::new(), Vec::new());
        for logged in facts {
            match &logged.fact {
                Fact::WebhookEvent(fact) => {
                    let id = WebhookEventId(logged.stream_id);
                    let is_new = matches!(fact, WebhookEventFact::EventAccepted(_));
                    if !is_new && !self.tracked.contains_key(&id) && !self.changes.contains_key(&id) {
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

    /// Folds one fact. `now` decides whether the event is due, and is when the time limit of an attempt begins.
    pub(super) fn fold(&mut self, logged: &LoggedFact, fetched: &Fetched, now: Present) {
        match &logged.fact {
            Fact::WebhookEvent(fact) => self.fold_webhook_event(logged, fact, fetched, now),
            Fact::Destination(fact) => self.fold_destination(logged, fact),
            Fact::Tenant(fact) => self.fold_tenant(TenantId(logged.stream_id), fact),
            _ => {}
        }
    }

    fn fold_destination(&mut self, logged: &LoggedFact, fact: &DestinationFact) {
        let id = DestinationId(logged.stream_id);
        if let DestinationFact::DestinationRegistered { tenant_id, concurrency_limit, .. } = fact {
            let lane = Lane::of_new_destination(*tenant_id, *concurrency_limit, self.concurrency_max);
            self.insert_lane(id, lane);
        }
        if let Some(lane) = self.lanes.get_mut(&id) {
            let voids_jobs = lane.fold(fact, logged.sequence);
            self.changed_lanes.insert(id);
            if voids_jobs {
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
        now: Present,
    ) {
        let event_id = WebhookEventId(logged.stream_id);
        self.ahead_of_log.confirm(event_id);
        let (known, persisted) = self.known(event_id, fetched);
        if known.as_ref().is_some_and(|known| known.stream_version >= logged.sequence) {
            return;
        }
        match (fact, known) {
            (WebhookEventFact::EventAccepted(acceptance), _) => {
                let event = AcceptedEvent {
                    position: logged.position,
                    event_id,
                    tenant_id: acceptance.tenant_id,
                    destination_id: acceptance.destination_id,
                    at: acceptance.at,
                };
                self.fold_acceptance(&event, persisted, now.wall);
            }
            (WebhookEventFact::Replayed { destination_id, attempts, at }, _) => {
                let delivery = DueDelivery {
                    event_id,
                    tenant_id: logged.tenant_id,
                    destination_id: *destination_id,
                    due_at: at_once(*at, now.wall),
                    stream_version: logged.sequence,
                    attempts: *attempts,
                    failed_attempts: 0,
                    unknown_in_a_row: 0,
                    started: None,
                };
                self.write_and_admit(delivery, persisted, now.wall);
            }
            (fact, Some(known)) => {
                let delivery = DueDelivery { stream_version: logged.sequence, ..known };
                self.fold_progress(fact, logged.recorded_at, delivery, persisted, now);
            }
            // The event has ended, so this fact was folded before.
            (_, None) => {}
        }
    }

    /// Folds the first fact of an event.
    pub(super) fn fold_acceptance(&mut self, event: &AcceptedEvent, persisted: bool, now: DateTime<Utc>) {
        let delivery = DueDelivery {
            event_id: event.event_id,
            tenant_id: event.tenant_id,
            destination_id: event.destination_id,
            due_at: at_once(event.at, now),
            stream_version: 1,
            attempts: 0,
            failed_attempts: 0,
            unknown_in_a_row: 0,
            started: None,
        };
        self.write_and_admit(delivery, persisted, now);
    }

    /// Folds a fact of a delivery that has not ended. `delivery` has the version of the fact.
    fn fold_progress(
        &mut self,
        fact: &WebhookEventFact,
        recorded_at: DateTime<Utc>,
        delivery: DueDelivery,
        persisted: bool,
        now: Present,
    ) {
        use WebhookEventFact as Fact;
        let (event_id, destination_id) = (delivery.event_id, delivery.destination_id);
        match fact {
            Fact::DeliveryStarted { attempt, timeout_ms, at, .. } => {
                let timeout_ms = u32::try_from(*timeout_ms).unwrap_or(u32::MAX);
                let started = StartedAttempt { at: *at, timeout_ms };
                let delivery = DueDelivery { attempts: *attempt, started: Some(started), ..delivery };
                self.write(delivery.clone(), persisted);
                self.start(delivery, now.boot + started.timeout());
            }
            Fact::DeliveryAttempted { failed_attempts, unknown_in_a_row, report, at, .. } => {
                if let Some(lane) = self.lanes.get_mut(&destination_id)
                    && lane.record(report.outcome)
                {
                    self.changed_lanes.insert(destination_id);
                }
                self.settle(event_id, destination_id);
                if report.outcome.is_success() {
                    self.forget(event_id, persisted);
                    return;
                }
                // The next fact of this stream says what follows: a retry or the end.
                let settled = DueDelivery {
                    failed_attempts: *failed_attempts,
                    unknown_in_a_row: *unknown_in_a_row,
                    started: None,
                    due_at: *at,
                    ..delivery
                };
                self.write(settled, persisted);
            }
            Fact::RetryScheduled { retry_at, failed_attempts, at, .. } => {
                self.settle(event_id, destination_id);
                // Both times are by the clock of the worker, which may be wrong: only their difference counts.
                let (due_at, failed_attempts) = (recorded_at + (*retry_at - *at), *failed_attempts);
                let delivery = DueDelivery { due_at, failed_attempts, started: None, ..delivery };
                self.write_and_admit(delivery, persisted, now.wall);
            }
            Fact::CriticalFailure { .. } | Fact::Cancelled { .. } => {
                self.settle(event_id, destination_id);
                self.forget(event_id, persisted);
            }
            Fact::EventAccepted(_) | Fact::Replayed { .. } | Fact::PayloadErased { .. } => {}
        }
    }

    /// Returns what is known of an event, and whether the table has a row of it.
    fn known(&self, event_id: WebhookEventId, fetched: &Fetched) -> (Option<DueDelivery>, bool) {
        if let Some(change) = self.changes.get(&event_id) {
            return (change.row.clone(), change.persisted);
        }
        let tracked = self.tracked.get(&event_id).map(|tracked| &tracked.delivery);
        let row = tracked.or_else(|| fetched.get(&event_id));
        (row.cloned(), row.is_some())
    }

    fn write_and_admit(&mut self, delivery: DueDelivery, persisted: bool, now: DateTime<Utc>) {
        self.write(delivery.clone(), persisted);
        self.admit(delivery, now);
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

/// Returns when an event is due that should be attempted at once. The clock of the machine that wrote its fact may be
/// ahead: that must not delay the attempt.
fn at_once(at: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
    at.min(now)
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
