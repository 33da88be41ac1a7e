//! Sharing by turns: where many tenants wait for the same thing, each gets its turn, however much the
//! others have waiting.
//!
//! This is weighted round robin (J. Nagle, "On Packet Switches With Infinite Storage", RFC 970): what
//! one tenant has waiting delays the others by one turn a round, and not by its length.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use aggregates::ids::TenantId;

/// What each tenant gets of a round. A tenant that is not named gets 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Weights(Arc<HashMap<TenantId, u16>>);

impl Weights {
    /// Weights by tenant.
    #[must_use]
    pub fn new(weights: HashMap<TenantId, u16>) -> Self {
        Self(Arc::new(weights))
    }

    fn of(&self, tenant_id: TenantId) -> u16 {
        self.0.get(&tenant_id).copied().unwrap_or(1).max(1)
    }
}

/// What waits, by tenant, in turn. Its owner bounds it.
#[derive(Debug)]
pub(crate) struct Turns<T> {
    waiting: HashMap<TenantId, VecDeque<T>>,
    /// Tenants with something waiting; the first has its turn.
    round: VecDeque<TenantId>,
    /// What the first may still take of its turn.
    left: u16,
    len: usize,
    weights: Weights,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self::new(Weights::default())
    }
}

impl<T> Turns<T> {
    pub(crate) fn new(weights: Weights) -> Self {
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

    /// The next item: the oldest of the tenant whose turn it is.
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
    fn a_burst_of_one_tenant_does_not_queue_in_front_of_the_others() {
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
    fn a_tenant_that_comes_back_waits_for_its_turn() {
        let mut turns = Turns::default();
        turns.push(tenant(1), "a1");
        turns.push(tenant(2), "b1");
        turns.push(tenant(2), "b2");
        assert_eq!(turns.pop(), Some("a1"));
        turns.push(tenant(1), "a2");
        assert_eq!(served(&mut turns), ["b1", "a2", "b2"]);
    }

    #[test]
    fn a_weight_is_how_much_a_tenant_gets_of_a_round() {
        let mut turns = Turns::new(Weights::new([(tenant(1), 3)].into()));
        for item in ["a1", "a2", "a3", "a4"] {
            turns.push(tenant(1), item);
        }
        for item in ["b1", "b2", "b3"] {
            turns.push(tenant(2), item);
        }
        assert_eq!(served(&mut turns), ["a1", "a2", "a3", "b1", "a4", "b2", "b3"]);
    }
}
