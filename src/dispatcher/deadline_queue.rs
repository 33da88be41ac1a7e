//! Who is to be looked at when: one time for each, in the order of the times.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use chrono::{DateTime, Utc};

#[derive(Debug)]
pub(super) struct DeadlineQueue<Id> {
    time_of: HashMap<Id, DateTime<Utc>>,
    in_order: BTreeSet<(DateTime<Utc>, Id)>,
}

impl<Id> Default for DeadlineQueue<Id> {
    fn default() -> Self {
        Self { time_of: HashMap::new(), in_order: BTreeSet::new() }
    }
}

impl<Id: Copy + Eq + Hash + Ord> DeadlineQueue<Id> {
    /// Sets a time, in place of the one it had.
    pub(super) fn set(&mut self, id: Id, at: DateTime<Utc>) {
        let before = self.time_of.insert(id, at);
        if before == Some(at) {
            return;
        }
        if let Some(before) = before {
            self.in_order.remove(&(before, id));
        }
        self.in_order.insert((at, id));
    }

    /// Takes it off the table, if it is on it.
    pub(super) fn clear(&mut self, id: Id) {
        if let Some(before) = self.time_of.remove(&id) {
            self.in_order.remove(&(before, id));
        }
    }

    /// Those whose time has come by `now`, the earliest first. They stay until they are set or cleared.
    pub(super) fn due(&self, now: DateTime<Utc>) -> Vec<Id> {
        self.in_order.iter().take_while(|(at, _)| *at <= now).map(|(_, id)| *id).collect()
    }

    pub(super) fn first(&self) -> Option<DateTime<Utc>> {
        self.in_order.first().map(|(at, _)| *at)
    }

    /// The first time later than `after`.
    pub(super) fn first_after(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.in_order.iter().map(|(at, _)| *at).find(|at| *at > after)
    }

    pub(super) fn len(&self) -> usize {
        self.in_order.len()
    }
}
