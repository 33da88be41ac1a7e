//! How long deliveries to healthy destinations stood still because of each fault.

use std::time::Duration;

use super::deliveries::Duplicate;
use super::index::Index;
use super::{Invariant, Violations};
use crate::faults::FaultKind;
use crate::history::{Behaviour, FaultSpan, RunTime};

/// Time after the end of a fault within which deliveries to healthy destinations continue.
const BOUND: Duration = Duration::from_secs(15);

/// Effect of one fault.
#[derive(Clone, Debug)]
pub struct FaultEffect {
    pub kind: FaultKind,
    /// From the beginning of the fault to the end of its step.
    pub during: Standstill,
    /// From the end of its step to the beginning of the next one.
    pub after: Standstill,
    /// Upper bound of [`FaultEffect::after`].
    pub bound: Duration,
    /// Repeated deliveries from its beginning to the beginning of the next step. Faults of one step share them.
    pub duplicates: usize,
}

/// Longest time without a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standstill {
    /// At any healthy destination.
    pub one: Duration,
    /// At all healthy destinations together.
    pub all: Duration,
}

/// Measures the effect of each fault.
pub(super) fn check(
    index: &Index<'_>,
    duplicates: &[Duplicate],
    violations: &mut Violations,
) -> Vec<FaultEffect> {
    let arrivals = arrivals_of_healthy(index);
    let faults = &index.history.faults;
    let effect = |fault: &FaultSpan| {
        let partners = faults.iter().filter(|other| other.step_ended == fault.step_ended);
        let bound = partners.map(|other| bound(other.kind, index.history.delivery_timeout)).max();
        let effect = FaultEffect {
            kind: fault.kind,
            during: standstill(&arrivals, fault.began, fault.step_ended),
            after: standstill(&arrivals, fault.step_ended, fault.next_began),
            bound: bound.unwrap_or(BOUND),
            duplicates: duplicates
                .iter()
                .filter(|duplicate| (fault.began..fault.next_began).contains(&duplicate.began))
                .count(),
        };
        if effect.after.one > effect.bound {
            let text = format!(
                "a healthy destination got nothing for {:.1} s after {} of {} ended at {:.1} s; the bound is {:.0} s",
                effect.after.one.as_secs_f64(),
                fault.kind,
                fault.target,
                fault.step_ended.as_secs_f64(),
                effect.bound.as_secs_f64()
            );
            violations.add(Invariant::NoStandstill, text);
        }
        effect
    };
    faults.iter().map(effect).collect()
}

fn bound(kind: FaultKind, delivery_timeout: Duration) -> Duration {
    if kind.leaves_attempts_open() { BOUND + delivery_timeout } else { BOUND }
}

/// Returns the times at which requests began, for each healthy destination.
fn arrivals_of_healthy(index: &Index<'_>) -> Vec<Vec<RunTime>> {
    let destinations = index.history.destinations.iter().enumerate();
    let healthy = destinations.filter(|(_, destination)| destination.behaviour == Behaviour::Healthy);
    let times = healthy.map(|(number, _)| {
        let of_destination = index.history.requests.iter().filter(|request| request.destination == number);
        let mut times: Vec<RunTime> = of_destination.map(|request| request.began).collect();
        times.sort_unstable();
        times
    });
    times.collect()
}

fn standstill(arrivals: &[Vec<RunTime>], began: RunTime, ended: RunTime) -> Standstill {
    let one = arrivals.iter().map(|times| longest_gap(times, began, ended)).max().unwrap_or_default();
    let mut together: Vec<RunTime> = arrivals.iter().flatten().copied().collect();
    together.sort_unstable();
    Standstill { one, all: longest_gap(&together, began, ended) }
}

/// Returns the longest time without a request between two times. `times` is sorted.
fn longest_gap(times: &[RunTime], began: RunTime, ended: RunTime) -> Duration {
    let first = times.partition_point(|time| *time < began);
    let last = times.partition_point(|time| *time <= ended);
    let mut longest = Duration::ZERO;
    let mut previous = began;
    for time in times[first..last.max(first)].iter().copied().chain([ended]) {
        longest = longest.max(time.saturating_sub(previous));
        previous = time;
    }
    longest
}
