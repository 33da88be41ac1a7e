//! Limit of units that several holders share, such that one who takes what it can leaves something for others.
//!
//! A holder may take units while it has fewer than are free (a *dynamic threshold*, known from packet switches).
//! Alone it gets half of them; of `k` greedy holders each gets one part of `k + 1`, and one part stays free for
//! the next holder. So no number of holders has to be known, and nothing is reserved.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::Gauge;

/// The limit. Clones share it.
#[derive(Debug)]
pub(crate) struct SharedLimit<K>(Arc<Shared<K>>);

#[derive(Debug)]
struct Shared<K> {
    max: usize,
    /// Shows how many units are held.
    gauge: Gauge,
    held: Mutex<Held<K>>,
}

#[derive(Debug)]
struct Held<K> {
    total: usize,
    by_holder: HashMap<K, usize>,
}

/// Units of a holder, until they are dropped.
#[derive(Debug)]
pub(crate) struct Units<K: Copy + Eq + Hash> {
    limit: SharedLimit<K>,
    holder: K,
    count: usize,
}

/// Reason why a holder gets no units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Too few are free.
    Exhausted,
    /// The holder has as many as are free.
    Share,
}

impl<K> Clone for SharedLimit<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Copy + Eq + Hash> SharedLimit<K> {
    /// Returns a limit of `max` units. `gauge` shows how many are held.
    pub(crate) fn new(max: usize, gauge: Gauge) -> Self {
        let held = Mutex::new(Held { total: 0, by_holder: HashMap::new() });
        Self(Arc::new(Shared { max, gauge, held }))
    }

    /// Takes units, which may be none.
    ///
    /// # Errors
    /// Too few are free, or the holder has its share.
    pub(crate) fn take(&self, holder: K, count: usize) -> Result<Units<K>, Refusal> {
        self.change(|held| held.add(self.0.max, holder, count))?;
        Ok(Units { limit: self.clone(), holder, count })
    }

    fn change<T>(&self, change: impl FnOnce(&mut Held<K>) -> T) -> T {
        let mut held = self.held();
        let result = change(&mut held);
        self.0.gauge.set(held.total as f64);
        result
    }

    fn held(&self) -> MutexGuard<'_, Held<K>> {
        // No change can panic halfway.
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Copy + Eq + Hash> Units<K> {
    pub(crate) fn holder(&self) -> K {
        self.holder
    }

    /// Takes more units for the same holder.
    ///
    /// # Errors
    /// As [`SharedLimit::take`].
    pub(crate) fn grow(&mut self, count: usize) -> Result<(), Refusal> {
        self.limit.change(|held| held.add(self.limit.0.max, self.holder, count))?;
        self.count += count;
        Ok(())
    }

    /// Changes the number of units, even beyond the limit, for what exists already.
    pub(crate) fn set(&mut self, count: usize) {
        self.limit.change(|held| {
            held.remove(self.holder, self.count);
            held.restore(self.holder, count);
        });
        self.count = count;
    }

    /// Counts the units as those of another holder.
    ///
    /// # Errors
    /// The other holder has its share.
    pub(crate) fn hand_over(&mut self, holder: K) -> Result<(), Refusal> {
        let mut held = self.limit.held();
        held.remove(self.holder, self.count);
        if let Err(refusal) = held.add(self.limit.0.max, holder, self.count) {
            held.restore(self.holder, self.count);
            return Err(refusal);
        }
        self.holder = holder;
        Ok(())
    }
}

impl<K: Copy + Eq + Hash> Drop for Units<K> {
    fn drop(&mut self) {
        self.limit.change(|held| held.remove(self.holder, self.count));
    }
}

impl<K: Copy + Eq + Hash> Held<K> {
    fn add(&mut self, max: usize, holder: K, count: usize) -> Result<(), Refusal> {
        if count == 0 {
            return Ok(());
        }
        let free = max.saturating_sub(self.total);
        if count > free {
            return Err(Refusal::Exhausted);
        }
        let own = self.by_holder.get(&holder).copied().unwrap_or_default();
        if own >= free {
            return Err(Refusal::Share);
        }
        self.restore(holder, count);
        Ok(())
    }

    fn restore(&mut self, holder: K, count: usize) {
        if count == 0 {
            return;
        }
        self.total += count;
        *self.by_holder.entry(holder).or_default() += count;
    }

    fn remove(&mut self, holder: K, count: usize) {
        self.total -= count;
        if let Some(own) = self.by_holder.get_mut(&holder) {
            *own -= count;
            if *own == 0 {
                self.by_holder.remove(&holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(max: usize) -> SharedLimit<u8> {
        SharedLimit::new(max, Gauge::noop())
    }

    fn in_use(limit: &SharedLimit<u8>) -> usize {
        limit.held().total
    }

    /// Takes single units until none is given.
    fn take_all(limit: &SharedLimit<u8>, holder: u8) -> Vec<Units<u8>> {
        std::iter::from_fn(|| limit.take(holder, 1).ok()).collect()
    }

    #[test]
    fn greedy_holders_get_equal_parts_and_leave_one() {
        let limit = limit(100);
        let mut first = take_all(&limit, 1);
        assert_eq!(first.len(), 50);
        assert_eq!(limit.take(1, 1).unwrap_err(), Refusal::Share);
        let mut second = take_all(&limit, 2);
        assert_eq!(second.len(), 25);
        // What one gives back, it gets again only while it has no more than is free.
        first.truncate(10);
        second.extend(take_all(&limit, 2));
        first.extend(take_all(&limit, 1));
        assert!(in_use(&limit) <= 75, "{}", in_use(&limit));
        assert!(limit.take(3, 1).is_ok());
        drop((first, second));
        assert_eq!(limit.held().by_holder.len(), 0);
        assert_eq!(in_use(&limit), 0);
    }

    #[test]
    fn a_single_unit_can_be_held() {
        let limit = limit(1);
        let held = limit.take(1, 1).unwrap();
        assert_eq!(limit.take(2, 1).unwrap_err(), Refusal::Exhausted);
        drop(held);
        assert!(limit.take(2, 1).is_ok());
    }

    #[test]
    fn units_grow_shrink_and_change_their_holder() {
        let limit = limit(100);
        let mut units = limit.take(1, 10).unwrap();
        units.grow(50).unwrap();
        assert_eq!(units.grow(1), Err(Refusal::Share));
        units.set(120);
        assert_eq!(limit.take(2, 1).unwrap_err(), Refusal::Exhausted);
        units.set(20);
        let others = limit.take(2, 60).unwrap();
        assert_eq!(units.hand_over(2), Err(Refusal::Share));
        assert_eq!((units.holder(), in_use(&limit)), (1, 80));
        drop(others);
        units.hand_over(2).unwrap();
        assert_eq!(limit.held().by_holder.keys().collect::<Vec<_>>(), [&2]);
    }
}
