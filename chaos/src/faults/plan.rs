//! The plan of a run: which faults, in which order, for how long. It follows from the seed alone.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};

use super::FaultKind;
use crate::installation::{PROCESSES, Server};

/// Size of a plan.
#[derive(Clone, Debug)]
pub struct PlanSize {
    pub faults: usize,
    /// Longest duration of a fault.
    pub longest: Duration,
    /// Kinds to draw from.
    pub kinds: Vec<FaultKind>,
    /// Upper bound of each kind that replaces the database, because those take the longest.
    pub rare_max: usize,
}

/// Steps, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
}

/// One fault, or two at the same time, and the pause after them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) faults: Vec<PlannedFault>,
    pub(crate) pause: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct PlannedFault {
    pub(crate) kind: FaultKind,
    /// Index in [`PROCESSES`]; `None`: all processes at once. Only some kinds use it.
    pub(crate) process: Option<usize>,
    /// Server at the other end of the connection, of faults of the network.
    pub(crate) server: Server,
    pub(crate) duration: Duration,
    /// Step of the clock, in seconds.
    pub(crate) clock_step: i64,
    /// Number that selects among things that exist only at the time of the fault, such as backends.
    pub(crate) choice: u64,
}

impl Plan {
    /// Draws a plan.
    #[must_use]
    pub(crate) fn draw(seed: u64, size: &PlanSize) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut kinds = draw_kinds(&mut random, size);
        let mut steps = Vec::new();
        while let Some(kind) = kinds.pop() {
            let first = draw_fault(&mut random, kind, size.longest);
            let mut faults = vec![first];
            // Every third step has two faults, if they do not exclude each other.
            if random.random_ratio(1, 3)
                && let Some(second) = kinds.last().map(|kind| draw_fault(&mut random, *kind, size.longest))
                && may_coincide(&first, &second)
            {
                kinds.pop();
                faults.push(second);
            }
            steps.push(Step { faults, pause: Duration::from_millis(random.random_range(500..3_000)) });
        }
        Self { steps }
    }
}

/// Draws kinds from a bag of all of them, which is filled again when it is empty.
fn draw_kinds(random: &mut StdRng, size: &PlanSize) -> Vec<FaultKind> {
    let mut drawn = Vec::with_capacity(size.faults);
    let mut round = 0;
    while drawn.len() < size.faults {
        let allowed = |kind: &FaultKind| !kind.replaces_database() || round < size.rare_max;
        let mut bag: Vec<FaultKind> = size.kinds.iter().copied().filter(allowed).collect();
        if bag.is_empty() {
            break;
        }
        bag.shuffle(random);
        bag.truncate(size.faults - drawn.len());
        drawn.append(&mut bag);
        round += 1;
    }
    drawn
}

fn draw_fault(random: &mut StdRng, kind: FaultKind, longest: Duration) -> PlannedFault {
    let longest_ms = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX).max(1_000);
    // Mostly short ones: every eighth fault may be as long as allowed.
    let upper = if random.random_ratio(1, 8) { longest_ms } else { longest_ms.min(8_000) };
    let process = random.random_range(0..PROCESSES.len());
    let concerns_all = kind.is_of_network() && random.random_ratio(1, 4);
    let magnitude = [30, 90, 600].choose(random).copied().unwrap_or(30);
    PlannedFault {
        kind,
        process: (!concerns_all).then_some(process),
        server: if random.random_ratio(2, 3) { Server::Postgres } else { Server::RabbitMq },
        duration: Duration::from_millis(random.random_range(500..=upper)),
        clock_step: if random.random_bool(0.5) { magnitude } else { -magnitude },
        choice: random.random(),
    }
}

fn may_coincide(first: &PlannedFault, second: &PlannedFault) -> bool {
    let replaces = first.kind.replaces_database() || second.kind.replaces_database();
    // A server that is restarted waits for its processes, also for a paused one.
    let same_server = [FaultKind::PostgresCrash, FaultKind::BackendPause];
    let conflicts = same_server.contains(&first.kind) && same_server.contains(&second.kind);
    // Both would set the state of the same connections.
    let both_of_network = first.kind.is_of_network() && second.kind.is_of_network();
    !replaces && !conflicts && !both_of_network && first.kind != second.kind
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(faults: usize) -> PlanSize {
        PlanSize { faults, longest: Duration::from_secs(60), kinds: FaultKind::ALL.to_vec(), rare_max: 2 }
    }

    #[test]
    fn a_plan_follows_from_its_seed() {
        assert_eq!(Plan::draw(1, &size(50)), Plan::draw(1, &size(50)));
        assert_ne!(Plan::draw(1, &size(50)), Plan::draw(2, &size(50)));
    }

    #[test]
    fn a_plan_has_all_kinds_and_the_requested_number_of_faults() {
        for seed in 0..100 {
            let plan = Plan::draw(seed, &size(50));
            let faults: Vec<_> = plan.steps.iter().flat_map(|step| &step.faults).collect();
            assert_eq!(faults.len(), 50);
            for kind in size(50).kinds {
                let count = faults.iter().filter(|fault| fault.kind == kind).count();
                assert!(if kind.replaces_database() { count == 2 } else { count >= 2 }, "{kind}: {count}");
            }
            assert!(faults.iter().all(|fault| fault.duration <= Duration::from_secs(60)));
        }
    }

    #[test]
    fn a_replaced_database_is_the_only_fault_of_its_step() {
        for seed in 0..100 {
            for step in Plan::draw(seed, &size(50)).steps {
                let replaces = step.faults.iter().any(|fault| fault.kind.replaces_database());
                assert!(step.faults.len() == 1 || !replaces, "{step:?}");
                assert!(step.faults.len() <= 2);
            }
        }
    }
}
