//! Counts of events over time, in slots of a tenth of a second.

use std::time::Duration;

const SLOT_US: u64 = 100_000;
/// Three hours. Later events are counted in the last slot.
const SLOTS_MAX: usize = 108_000;

/// Number of events in each slot of time.
#[derive(Clone, Debug, Default)]
pub(crate) struct RateSeries {
    slots: Vec<u32>,
    total: u64,
}

/// Interval in microseconds since the tracker was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) start_us: u64,
    pub(crate) end_us: u64,
}

impl Window {
    pub(crate) fn seconds(self) -> f64 {
        Duration::from_micros(self.end_us.saturating_sub(self.start_us)).as_secs_f64()
    }

    /// Returns the interval without its first and last fifth, in which load ramps up and down.
    pub(crate) fn middle(self) -> Self {
        let fifth = self.end_us.saturating_sub(self.start_us) / 5;
        Self { start_us: self.start_us + fifth, end_us: self.end_us.saturating_sub(fifth) }
    }
}

impl RateSeries {
    /// Counts an event at a time in microseconds since the tracker was created.
    pub(crate) fn count(&mut self, at_us: u64) {
        let slot = usize::try_from(at_us / SLOT_US).unwrap_or(SLOTS_MAX).min(SLOTS_MAX - 1);
        if self.slots.len() <= slot {
            self.slots.resize(slot + 1, 0);
        }
        self.slots[slot] += 1;
        self.total += 1;
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Returns the events a second within a window. Slots that are partly within it count in proportion.
    pub(crate) fn per_second(&self, window: Window) -> f64 {
        if window.end_us <= window.start_us {
            return 0.0;
        }
        self.within(window) / window.seconds()
    }

    /// Returns the approximate number of events within a window.
    pub(crate) fn within(&self, window: Window) -> f64 {
        let share = |slot: usize| {
            let start = slot as u64 * SLOT_US;
            let covered = window.end_us.min(start + SLOT_US).saturating_sub(window.start_us.max(start));
            covered as f64 / SLOT_US as f64
        };
        self.slots.iter().enumerate().map(|(slot, count)| f64::from(*count) * share(slot)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(start_ms: u64, end_ms: u64) -> Window {
        Window { start_us: start_ms * 1_000, end_us: end_ms * 1_000 }
    }

    #[test]
    fn rates_are_computed_within_their_window() {
        let mut series = RateSeries::default();
        for ms in 0..1_000 {
            series.count(ms * 1_000);
        }
        for ms in (1_000..2_000).step_by(10) {
            series.count(ms * 1_000);
        }
        assert_eq!(series.total(), 1_100);
        assert_eq!(series.per_second(window(0, 1_000)).round(), 1_000.0);
        assert_eq!(series.per_second(window(1_000, 2_000)).round(), 100.0);
        assert_eq!(series.per_second(window(950, 1_050)).round(), 550.0);
        assert_eq!(series.per_second(window(5_000, 6_000)), 0.0);
        assert_eq!(series.per_second(window(1_000, 1_000)), 0.0);
    }

    #[test]
    fn the_middle_leaves_both_ends_out() {
        assert_eq!(window(1_000, 2_000).middle(), window(1_200, 1_800));
        assert_eq!(window(7, 7).middle(), window(7, 7));
    }

    #[test]
    fn memory_is_bounded_after_three_hours() {
        let mut series = RateSeries::default();
        series.count(u64::MAX);
        series.count(u64::MAX - 1);
        assert_eq!((series.slots.len(), series.total()), (SLOTS_MAX, 2));
    }
}
