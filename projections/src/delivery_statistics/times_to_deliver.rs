//! Histogram of the durations of deliveries.
//!
//! Percentiles cannot be added up, but numbers in classes can: those of hours to those of a day, and those of two
//! destinations to those of both. Up to 15 ms each millisecond is a class; above, every doubling is divided into eight
//! classes. The error of a percentile is at most an eighth of its value, and less if the deliveries are spread over
//! their class.

/// Binary logarithm of the number of classes in a doubling.
const STEPS_LOG2: u32 = 3;
/// Number of classes in a doubling.
const STEPS: u64 = 1 << STEPS_LOG2;
/// Durations from here on, about 198 days, are in the last class.
const LIMIT_MS: u64 = 1 << 34;

/// Number of deliveries in each class of duration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimesToDeliver {
    /// Without the empty classes at the end.
    counts: Vec<u64>,
}

impl TimesToDeliver {
    /// Adds a delivery that took so many milliseconds.
    pub(crate) fn count(&mut self, milliseconds: u64) {
        let class = class_of(milliseconds);
        if self.counts.len() <= class {
            self.counts.resize(class + 1, 0);
        }
        self.counts[class] += 1;
    }

    /// Adds the deliveries of `other`.
    pub fn add(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
    }

    /// Returns the duration, in milliseconds, within which `percent` (0 to 100) of the deliveries were made; `None`
    /// without deliveries. Deliveries are assumed to be spread evenly over their class.
    #[must_use]
    pub fn percentile(&self, percent: u32) -> Option<u64> {
        let deliveries: u64 = self.counts.iter().sum();
        if deliveries == 0 {
            return None;
        }
        // In hundredths of a delivery, to stay with whole numbers.
        let rank = u128::from(deliveries) * u128::from(percent.min(100));
        let mut below = 0;
        let mut longest = 0;
        for (class, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let hundredths = u128::from(*count) * 100;
            let (first, width) = bounds_of(class);
            if rank <= below + hundredths {
                let within = (rank - below) * u128::from(width) / hundredths;
                // The end of a class is not in it.
                let within = u64::try_from(within).unwrap_or(width).min(width - 1);
                return Some(first + within);
            }
            below += hundredths;
            longest = first + width - 1;
        }
        Some(longest)
    }

    /// Returns the value of the column. Each number is limited to `i32::MAX`.
    pub(super) fn to_stored(&self) -> Vec<i32> {
        self.counts.iter().map(|count| i32::try_from(*count).unwrap_or(i32::MAX)).collect()
    }

    /// Reads the value of the column.
    pub(super) fn from_stored(counts: &[i32]) -> Self {
        Self { counts: counts.iter().map(|count| u64::try_from(*count).unwrap_or_default()).collect() }
    }
}

fn class_of(milliseconds: u64) -> usize {
    let milliseconds = milliseconds.min(LIMIT_MS - 1);
    let class = if milliseconds < STEPS {
        milliseconds
    } else {
        let doubling = milliseconds.ilog2();
        let step = (milliseconds >> (doubling - STEPS_LOG2)) - STEPS;
        u64::from(doubling - STEPS_LOG2 + 1) * STEPS + step
    };
    usize::try_from(class).unwrap_or(usize::MAX)
}

/// Returns the first millisecond of a class, and its length in milliseconds.
fn bounds_of(class: usize) -> (u64, u64) {
    let class = u64::try_from(class).unwrap_or(u64::MAX);
    match (class / STEPS, class % STEPS) {
        (0, step) => (step, 1),
        (doublings, step) => {
            let width = 1 << (doublings - 1).min(u64::from(u64::BITS - STEPS_LOG2 - 2));
            ((STEPS + step) * width, width)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(times: impl IntoIterator<Item = u64>) -> TimesToDeliver {
        let mut counted = TimesToDeliver::default();
        times.into_iter().for_each(|time| counted.count(time));
        counted
    }

    #[test]
    fn every_time_is_in_the_class_whose_bounds_hold_it_and_classes_leave_no_gap() {
        let mut next = 0;
        for class in 0..=class_of(u64::MAX) {
            let (first, width) = bounds_of(class);
            assert_eq!(first, next, "class {class}");
            assert_eq!(class_of(first), class);
            assert_eq!(class_of(first + width - 1), class);
            assert!(width == 1 || width * STEPS <= first, "class {class} is too wide");
            next = first + width;
        }
        assert_eq!(next, LIMIT_MS);
        assert_eq!(class_of(u64::MAX), 255);
    }

    #[test]
    fn nothing_delivered_has_no_percentile() {
        assert_eq!(of([]).percentile(50), None);
    }

    #[test]
    fn short_times_are_exact() {
        assert_eq!(of([0]).percentile(95), Some(0));
        assert_eq!(of([7, 7, 7, 15]).percentile(50), Some(7));
        assert_eq!(of([7, 15, 15, 15]).percentile(95), Some(15));
        assert_eq!(of(1..=10).percentile(50), Some(5));
    }

    #[test]
    fn a_percentile_is_off_by_an_eighth_at_most() {
        for scale in [20, 250, 3_000, 70_000, 9_000_000] {
            let times: Vec<u64> = (1..=1_000).map(|step| scale * step / 100).collect();
            let counted = of(times.iter().copied());
            for percent in [1, 5, 50, 90, 95, 99, 100] {
                let exact = times[usize::try_from(percent).unwrap() * 10 - 1];
                let told = counted.percentile(percent).unwrap();
                assert!(
                    told.abs_diff(exact) * 8 <= exact.max(8),
                    "{percent} % of {scale}: {told}, not {exact}"
                );
            }
        }
    }

    #[test]
    fn deliveries_of_one_class_are_spread_over_it() {
        let counted = of([1_024; 10]);
        assert_eq!(counted.percentile(50), Some(1_024 + 64));
        assert_eq!(counted.percentile(100), Some(1_024 + 127));
    }

    #[test]
    fn adding_is_counting_together() {
        let (mut one, other) = (of([1, 100, 90_000]), of([100, 5]));
        one.add(&other);
        assert_eq!(one, of([1, 5, 100, 100, 90_000]));
        let mut none = TimesToDeliver::default();
        none.add(&one);
        assert_eq!(none, one);
    }

    #[test]
    fn what_is_stored_is_read_back() {
        let counted = of([3, 3, 3_000]);
        assert_eq!(TimesToDeliver::from_stored(&counted.to_stored()), counted);
    }
}
