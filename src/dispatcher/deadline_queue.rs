//! A queue of ids ordered by deadline; each id has at most one.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

/// The times are of one clock: a wall clock or the time since the start of the machine.
#[derive(Debug)]
pub(super) struct DeadlineQueue<Id, Time> {
    deadlines: HashMap<Id, Time>,
    in_order: BTreeSet<(Time, Id)>,
}

impl<Id, Time> Default for DeadlineQueue<Id, Time> {
    fn default() -> Self {
        Self { deadlines: HashMap::new(), in_order: BTreeSet::new() }
    }
}

impl<Id: Copy + Eq + Hash + Ord, Time: Copy + Ord> DeadlineQueue<Id, Time> {
    /// Sets the deadline of `id`, replacing the one it had.
    pub(super) fn set(&mut self, id: Id, at: Time) {
        let before = self.deadlines.insert(id, at);
        if before == Some(at) {
            return;
        }
        if let Some(before) = before {
            self.in_order.remove(&(before, id));
        }
        self.in_order.insert((at, id));
    }

    /// Removes `id`, if the queue has it.
    pub(super) fn remove(&mut self, id: Id) {
        if let Some(before) = self.deadlines.remove(&id) {
            self.in_order.remove(&(before, id));
        }
    }

    /// Returns the ids whose deadline is not after `now`, the earliest first. They stay in the queue until
    /// they are set or removed.
    pub(super) fn due(&self, now: Time) -> Vec<Id> {
        self.in_order.iter().take_while(|(at, _)| *at <= now).map(|(_, id)| *id).collect()
    }

    /// Returns all ids, the earliest first.
    pub(super) fn ids(&self) -> Vec<Id> {
        self.in_order.iter().map(|(_, id)| *id).collect()
    }

    pub(super) fn first(&self) -> Option<Time> {
        self.in_order.first().map(|(at, _)| *at)
    }

    /// Returns the first deadline later than `after`.
    pub(super) fn first_after(&self, after: Time) -> Option<Time> {
        self.in_order.iter().map(|(at, _)| *at).find(|at| *at > after)
    }

    pub(super) fn len(&self) -> usize {
        self.in_order.len()
    }
}
