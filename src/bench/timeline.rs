//! How many things happened when, in slots of a tenth of a second.

use std::time::Duration;

const SLOT_US: u64 = 100_000;
/// Three hours; what comes later is counted as if it came then.
const SLOTS_MAX: usize = 108_000;

/// Counts over time, for rates over parts of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Timeline {
    slots: Vec<u32>,
    total: u64,
}

/// A stretch of time, in microseconds since the ledger was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) start_us: u64,
    pub(super) end_us: u64,
}

impl Window {
    pub(super) fn seconds(self) -> f64 {
        Duration::from_micros(self.end_us.saturating_sub(self.start_us)).as_secs_f64()
    }

    /// Without its first fifth, in which things warm up, and its last, in which they run dry.
    pub(super) fn middle(self) -> Self {
        let fifth = self.end_us.saturating_sub(self.start_us) / 5;
        Self { start_us: self.start_us + fifth, end_us: self.end_us.saturating_sub(fifth) }
    }
}

impl Timeline {
    pub(super) fn count(&mut self, at_us: u64) {
        let slot = usize::try_from(at_us / SLOT_US).unwrap_or(SLOTS_MAX).min(SLOTS_MAX - 1);
        if self.slots.len() <= slot {
            self.slots.resize(slot + 1, 0);
        }
        self.slots[slot] += 1;
        self.total += 1;
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// How many a second within a window. Slots that it cuts count in proportion.
    pub(super) fn per_second(&self, window: Window) -> f64 {
        if window.end_us <= window.start_us {
            return 0.0;
        }
        self.within(window) / window.seconds()
    }

    /// How many within a window, about.
    pub(super) fn within(&self, window: Window) -> f64 {
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
    fn rates_are_of_their_window() {
        let mut timeline = Timeline::default();
        for ms in 0..1_000 {
            timeline.count(ms * 1_000);
        }
        for ms in (1_000..2_000).step_by(10) {
            timeline.count(ms * 1_000);
        }
        assert_eq!(timeline.total(), 1_100);
        assert_eq!(timeline.per_second(window(0, 1_000)).round(), 1_000.0);
        assert_eq!(timeline.per_second(window(1_000, 2_000)).round(), 100.0);
        assert_eq!(timeline.per_second(window(950, 1_050)).round(), 550.0);
        assert_eq!(timeline.per_second(window(5_000, 6_000)), 0.0);
        assert_eq!(timeline.per_second(window(1_000, 1_000)), 0.0);
    }

    #[test]
    fn the_middle_leaves_both_ends_out() {
        assert_eq!(window(1_000, 2_000).middle(), window(1_200, 1_800));
        assert_eq!(window(7, 7).middle(), window(7, 7));
    }

    #[test]
    fn it_takes_no_more_memory_after_three_hours() {
        let mut timeline = Timeline::default();
        timeline.count(u64::MAX);
        timeline.count(u64::MAX - 1);
        assert_eq!((timeline.slots.len(), timeline.total()), (SLOTS_MAX, 2));
    }
}
