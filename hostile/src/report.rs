//! What an attack cost the well-behaved tenant.

use std::fmt;
use std::time::Duration;

use crate::attacks::Attack;
use crate::neighbour::Figures;

/// Head of the table.
pub const HEADER: &str = "\
| Attack | Accept p50 / p99 before (ms) | during | after | End to end p50 / p99 before (ms) | during | after | Processors used by program, attacker | Accepted | Delivered |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|";

/// Processors that were busy for a process during the attack, on average.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Processors {
    pub(crate) program: f64,
    pub(crate) attacker: f64,
}

/// One line of the table.
#[derive(Debug)]
pub struct Effect {
    pub(crate) attack: Attack,
    pub(crate) before: Figures,
    pub(crate) during: Figures,
    pub(crate) after: Figures,
    pub(crate) processors: Processors,
    /// How often the limit that stops the attack refused something; `None`: its refusals are not counted.
    pub(crate) refusals: Option<f64>,
}

impl Effect {
    /// Whether the attack met the limit that stops it; `None`: it is not known.
    #[must_use]
    pub fn met_its_limit(&self) -> Option<bool> {
        self.refusals.map(|refusals| refusals > 0.0)
    }

    /// Whether every webhook was accepted and delivered.
    #[must_use]
    pub fn is_unharmed(&self) -> bool {
        let unharmed = |figures: &Figures| figures.delivered == figures.sent;
        [&self.before, &self.during, &self.after].into_iter().all(unharmed)
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let periods = [&self.before, &self.during, &self.after];
        write!(f, "| {} |", self.attack)?;
        for period in periods {
            write!(f, " {} |", percentiles(&period.accept))?;
        }
        for period in periods {
            write!(f, " {} |", percentiles(&period.end_to_end))?;
        }
        let sum = |count: fn(&Figures) -> usize| periods.into_iter().map(count).sum::<usize>();
        let (sent, accepted) = (sum(|figures| figures.sent), sum(|figures| figures.accepted));
        let Processors { program, attacker } = self.processors;
        write!(f, " {program:.2}, {attacker:.2} |")?;
        write!(f, " {accepted} of {sent} | {} of {accepted} |", sum(|figures| figures.delivered))
    }
}

/// Formats median and 99th percentile of durations that are sorted.
fn percentiles(sorted: &[Duration]) -> String {
    let at = |share: f64| {
        let index = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
        sorted
            .get(index)
            .map_or_else(|| "-".to_owned(), |time| format!("{:.1}", time.as_secs_f64() * 1_000.0))
    };
    format!("{} / {}", at(0.5), at(0.99))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_sorted_durations() {
        let durations: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentiles(&durations), "100.0 / 198.0");
        assert_eq!(percentiles(&durations[..1]), "1.0 / 1.0");
        assert_eq!(percentiles(&[]), "- / -");
    }

    #[test]
    fn a_webhook_that_was_refused_or_lost_is_harm() {
        let good = Figures { sent: 2, accepted: 2, delivered: 2, ..Figures::default() };
        let (attack, before, after) = (Attack::ALL[0], good.clone(), good.clone());
        let effect = |during| Effect {
            attack,
            before: before.clone(),
            during,
            after: after.clone(),
            processors: Processors::default(),
            refusals: None,
        };
        assert!(effect(good.clone()).is_unharmed());
        assert!(!effect(Figures { accepted: 1, delivered: 1, ..good.clone() }).is_unharmed());
        assert!(!effect(Figures { delivered: 1, ..good.clone() }).is_unharmed());
    }
}
