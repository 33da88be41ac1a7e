//! The dispatcher's tables in memory, with their queries.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use aggregates::destination::Stage;
use aggregates::ids::{DestinationId, TenantId, WebhookEventId};
use chrono::{DateTime, Utc};
use projections::LogPosition;
use uuid::Uuid;

use crate::dispatcher::due_deliveries::{DueDelivery, Window};
use crate::dispatcher::lane::LaneState;
use crate::dispatcher::schedule::Changes;

#[derive(Default)]
pub(super) struct Tables {
    pub(super) due: BTreeMap<WebhookEventId, DueDelivery>,
    pub(super) lanes: BTreeMap<DestinationId, LaneState>,
    pub(super) set_aside: Vec<WebhookEventId>,
    pub(super) suspended_tenants: BTreeSet<TenantId>,
    pub(super) checkpoint: LogPosition,
}

impl Tables {
    pub(super) fn write(&mut self, changes: Changes, checkpoint: LogPosition) {
        for row in changes.written {
            self.due.insert(row.event_id, row);
        }
        for event in changes.removed {
            self.due.remove(&WebhookEventId(event));
        }
        self.lanes.extend(changes.lanes);
        self.set_aside.extend(changes.set_aside.into_iter().map(|event| event.event_id));
        self.suspended_tenants.extend(changes.suspended_tenants.into_iter().map(TenantId));
        for tenant in changes.resumed_tenants {
            self.suspended_tenants.remove(&TenantId(tenant));
        }
        self.checkpoint = checkpoint;
    }

    fn waiting(&self, id: DestinationId) -> impl Iterator<Item = &DueDelivery> {
        let mut waiting: Vec<&DueDelivery> =
            self.due.values().filter(|row| row.destination_id == id && row.started.is_none()).collect();
        waiting.sort_by_key(|row| (row.due_at, row.event_id));
        waiting.into_iter()
    }

    pub(super) fn window(
        &self,
        window: Window,
        in_memory: &HashSet<Uuid>,
        now: DateTime<Utc>,
    ) -> Vec<DueDelivery> {
        self.waiting(window.destination_id)
            .filter(|row| row.due_at <= now && !in_memory.contains(&row.event_id.0))
            .take(window.rows_max)
            .cloned()
            .collect()
    }

    pub(super) fn next_due(&self, id: DestinationId, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.waiting(id).map(|row| row.due_at).find(|due_at| *due_at > now)
    }

    pub(super) fn in_flight(&self) -> Vec<DueDelivery> {
        self.due.values().filter(|row| row.started.is_some()).cloned().collect()
    }

    pub(super) fn lanes_with_something_to_do(&self) -> Vec<(DestinationId, LaneState)> {
        let with_events: HashSet<DestinationId> = self.due.values().map(|row| row.destination_id).collect();
        self.lanes
            .iter()
            .filter(|(id, lane)| with_events.contains(id) || lane.breaker.stage == Stage::Suspended)
            .map(|(id, lane)| (*id, lane.clone()))
            .collect()
    }
}
