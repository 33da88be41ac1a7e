//! Weighted round robin between tenants (J. Nagle, "On Packet Switches With Infinite Storage", RFC 970).
//!
//! The backlog of one tenant delays the others by one turn a round, however long it is.

use std::collections::{HashMap, VecDeque};

use aggregates::ids::TenantId;

use crate::config::TenantWeights;

/// Waiting items by tenant. The owner bounds their number.
#[derive(Debug)]
pub(crate) struct Turns<T> {
    waiting: HashMap<TenantId, VecDeque<T>>,
    /// Tenants with waiting items; it is the turn of the first.
    round: VecDeque<TenantId>,
    /// Number of items that the first tenant may still be served in its turn.
    left: u16,
    len: usize,
    weights: TenantWeights,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self::new(TenantWeights::default())
    }
}

impl<T> Turns<T> {
    pub(crate) fn new(weights: TenantWeights) -> Self {
        Self { waiting: HashMap::new(), round: VecDeque::new(), left: 0, len: 0, weights }
    }

    pub(crate) fn push(&mut self, tenant_id: TenantId, item: T) {
        let waiting = self.waiting.entry(tenant_id).or_default();
        if waiting.is_empty() {
            self.round.push_back(tenant_id);
        }
        waiting.push_back(item);
        self.len += 1;
    }

    /// Removes the oldest item of the tenant whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let tenant_id = *self.round.front()?;
        if self.left == 0 {
            self.left = self.weights.of(tenant_id);
        }
        let waiting = self.waiting.get_mut(&tenant_id)?;
        let item = waiting.pop_front()?;
        self.len -= 1;
        self.left -= 1;
        if waiting.is_empty() {
            self.waiting.remove(&tenant_id);
            self.round.pop_front();
            self.left = 0;
        } else if self.left == 0 {
            self.round.rotate_left(1);
        }
        Some(item)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn tenant(number: u128) -> TenantId {
        TenantId(Uuid::from_u128(number))
    }

    fn served(turns: &mut Turns<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| turns.pop()).collect()
    }

    #[test]
    fn a_burst_of_one_tenant_delays_the_others_by_one_item() {
        let mut turns = Turns::default();
        for item in ["a1", "a2", "a3", "a4"] {
            turns.push(tenant(1), item);
        }
        turns.push(tenant(2), "b1");
        turns.push(tenant(3), "c1");
        assert_eq!(turns.len(), 6);
        assert_eq!(served(&mut turns), ["a1", "b1", "c1", "a2", "a3", "a4"]);
        assert_eq!(turns.len(), 0);
    }

    #[test]
    fn a_tenant_that_returns_waits_for_its_turn() {
        let mut turns = Turns::default();
        turns.push(tenant(1), "a1");
        turns.push(tenant(2), "b1");
        turns.push(tenant(2), "b2");
        assert_eq!(turns.pop(), Some("a1"));
        turns.push(tenant(1), "a2");
        assert_eq!(served(&mut turns), ["b1", "a2", "b2"]);
    }

    #[test]
    fn a_tenant_is_served_as_many_items_a_round_as_its_weight() {
        let mut turns = Turns::new(TenantWeights::new([(tenant(1), 3)].into()));
        for item in ["a1", "a2", "a3", "a4"] {
            turns.push(tenant(1), item);
        }
        for item in ["b1", "b2", "b3"] {
            turns.push(tenant(2), item);
        }
        assert_eq!(served(&mut turns), ["a1", "a2", "a3", "b1", "a4", "b2", "b3"]);
    }
}
