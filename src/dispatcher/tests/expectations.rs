//! The state according to the log, to be compared with the dispatcher's.

use std::collections::HashMap;

use aggregates::destination::{Destination, Stage};
use aggregates::ids::{DestinationId, WebhookEventId};
use aggregates::webhook_event::{Delivery, WebhookEvent};

use super::model::{Model, Stream, World};
use crate::dispatcher::schedule::Schedule;

impl Model {
    /// Returns the number of attempts in flight.
    pub(super) fn in_flight(&self, id: DestinationId) -> usize {
        let delivers = |stream: &Stream<WebhookEvent>| matches!(&stream.state, WebhookEvent::Delivering(Delivery { destination_id, .. }) if *destination_id == id);
        self.events.iter().filter(|(id, stream)| delivers(stream) && !self.never_sent.contains(id)).count()
    }

    /// Returns the attempts whose request may be in progress.
    pub(super) fn requests_in_flight(&self) -> Vec<WebhookEventId> {
        let mut attempts = self.attempts_in_flight();
        attempts.retain(|id| !self.never_sent.contains(id));
        attempts
    }

    pub(super) fn attempts_in_flight(&self) -> Vec<WebhookEventId> {
        let delivers = |stream: &Stream<WebhookEvent>| matches!(stream.state, WebhookEvent::Delivering(_));
        self.events.iter().filter(|(_, stream)| delivers(stream)).map(|(id, _)| *id).collect()
    }

    pub(super) fn every_event(&self) -> Vec<WebhookEventId> {
        self.events.keys().copied().collect()
    }

    pub(super) fn given_up(&self) -> Vec<WebhookEventId> {
        let is_given_up =
            |stream: &Stream<WebhookEvent>| matches!(stream.state, WebhookEvent::CriticalFailure(_));
        self.events.iter().filter(|(_, stream)| is_given_up(stream)).map(|(id, _)| *id).collect()
    }

    /// Returns the events that have not ended.
    pub(super) fn unfinished(&self) -> Vec<WebhookEventId> {
        let is_open = |stream: &Stream<WebhookEvent>| {
            matches!(stream.state, WebhookEvent::Waiting(_) | WebhookEvent::Delivering(_))
        };
        self.events.iter().filter(|(_, stream)| is_open(stream)).map(|(id, _)| *id).collect()
    }

    pub(super) fn stage(&self, id: DestinationId) -> Stage {
        let Destination::Registered(endpoint) = &self.destinations[&id].state else { panic!("registered") };
        endpoint.stage
    }
}

impl World {
    /// Asserts that the tables agree with the log about every event and every destination.
    pub(super) fn check_tables(&mut self) {
        self.fold_all();
        self.flush();
        for (id, stream) in &self.events {
            let row = self.tables.due.get(id);
            let (delivery, delivers) = match &stream.state {
                WebhookEvent::Waiting(delivery) => (delivery, false),
                WebhookEvent::Delivering(delivery) => (delivery, true),
                _ => {
                    assert_eq!(row, None, "a row of an event that has ended");
                    continue;
                }
            };
            let row = row.unwrap_or_else(|| panic!("no row of {id}"));
            assert_eq!(row.stream_version, stream.version, "{id}");
            assert_eq!(row.destination_id, delivery.destination_id, "{id}");
            assert_eq!(
                (row.attempts, row.failed_attempts, row.unknown_in_a_row),
                (delivery.attempts, delivery.failed_attempts, delivery.unknown_in_a_row),
                "{id}"
            );
            assert_eq!(row.started.is_some(), delivers, "{id}");
        }
        for (id, stream) in &self.destinations {
            let Destination::Registered(endpoint) = &stream.state else { panic!("registered") };
            let lane = &self.tables.lanes[id];
            assert_eq!(
                (lane.breaker.stage, lane.concurrency_limit),
                (endpoint.stage, endpoint.concurrency_limit)
            );
            assert_eq!(lane.breaker.next_check_at.is_some(), endpoint.stage == Stage::Suspended);
        }
        assert_eq!(self.tables.suspended_tenants, self.suspended_tenants);
    }
}

impl Schedule {
    /// Returns the number of jobs and attempts that each lane counts.
    pub(super) fn in_flight_by_lane(&self) -> HashMap<DestinationId, usize> {
        self.lanes.iter().map(|(id, lane)| (*id, lane.in_flight.len())).collect()
    }

    /// Returns the number of leases of a lane's permits.
    pub(super) fn leased(&self, id: DestinationId) -> usize {
        self.lessor.as_ref().map_or(0, |lessor| lessor.leased(id))
    }
}
