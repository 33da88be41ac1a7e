//! Tenants that the operator has suspended. Their events wait with their counts, and nothing is released for them.

use aggregates::ids::{DestinationId, TenantId};
use aggregates::tenant::TenantFact;

use super::{Changes, Schedule};

impl Schedule {
    /// Adds a tenant that the table has as suspended, before the lanes are added.
    pub(in crate::dispatcher) fn keep_suspended(&mut self, id: TenantId) {
        self.suspended_tenants.insert(id);
    }

    /// Returns the number of tenants that are suspended.
    pub(in crate::dispatcher) fn suspended_tenants_len(&self) -> usize {
        self.suspended_tenants.len()
    }

    pub(in crate::dispatcher) fn fold_tenant(&mut self, id: TenantId, fact: &TenantFact) {
        let (is_suspended, has_changed) = match fact {
            TenantFact::TenantSuspended { .. } => (true, self.suspended_tenants.insert(id)),
            TenantFact::TenantResumed { .. } => (false, self.suspended_tenants.remove(&id)),
            _ => return,
        };
        if !has_changed {
            return;
        }
        self.changed_tenants.insert(id);
        let lanes = self.lanes.iter().filter(|(_, lane)| lane.state.tenant_id == id);
        for lane_id in lanes.map(|(lane_id, _)| *lane_id).collect::<Vec<DestinationId>>() {
            if let Some(lane) = self.lanes.get_mut(&lane_id) {
                lane.is_tenant_suspended = is_suspended;
            }
            if is_suspended {
                self.recall(lane_id);
            }
            self.touch(lane_id);
        }
    }

    pub(super) fn take_changed_tenants(&mut self, changes: &mut Changes) {
        for id in self.changed_tenants.drain() {
            match self.suspended_tenants.contains(&id) {
                true => changes.suspended_tenants.push(id.0),
                false => changes.resumed_tenants.push(id.0),
            }
        }
    }
}
