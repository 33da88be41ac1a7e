//! Reports as data. `text.rs` and `summary.rs` render them for people.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::event_tracker::Reconciliation;
use super::load_stats::LoadStats;
use super::meters::{Reading, Statement};
use super::options::Workload;
use super::rate_series::Window;

/// Report of one workload.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub workload: Workload,
    /// In the order in which they ran.
    pub phases: Vec<PhaseReport>,
    pub reconciliation: Reconciliation,
    /// Whether the run was stopped early, so that missing events may still have been in progress.
    pub interrupted: bool,
}

/// Report of one phase of a workload.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PhaseReport {
    pub name: String,
    /// Duration of the load; in a phase without load, of the deliveries.
    pub seconds: f64,
    /// Duration up to the last delivery.
    pub seconds_to_last_delivery: f64,
    pub loads: Vec<LoadReport>,
    pub cost: Cost,
}

/// Report of one load of a phase.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadReport {
    pub name: String,
    /// How it was sent, as text.
    pub pace: String,
    pub sent: u64,
    pub accepted: u64,
    pub delivered: u64,
    /// Events accepted a second, over the middle three fifths of the load.
    pub accepted_per_second: f64,
    /// Events delivered a second, over the middle three fifths of the load.
    pub delivered_per_second: f64,
    /// Events delivered a second, from the beginning to the last delivery.
    pub delivered_per_second_overall: f64,
    /// Latency from the scheduled time of sending to the 202.
    pub accept_ms: Option<Latency>,
    /// Latency from the scheduled time of sending to the first arrival.
    pub end_to_end_ms: Option<Latency>,
    /// Number of events that were not accepted, by reason.
    pub errors: BTreeMap<String, u64>,
}

/// A distribution of latencies, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latency {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

/// Cost of a phase.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cost {
    /// Number of events by which it is divided.
    pub events: u64,
    pub processes: Vec<ProcessCost>,
    /// CPU milliseconds an event of the load generator and receiver.
    pub own_cpu_ms_per_event: Option<f64>,
    pub database: Option<DatabaseCost>,
}

/// Cost of a process and its descendants.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessCost {
    pub name: String,
    pub cpu_seconds: f64,
    pub cpu_ms_per_event: f64,
    /// Peak of resident memory.
    pub resident_bytes_peak: u64,
}

/// Work of the database.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseCost {
    pub wal_bytes_per_event: f64,
    /// Committed transactions, including read-only ones.
    pub commits_per_event: f64,
    /// Transactions that wrote, committed or not.
    pub writes_per_event: f64,
    /// Statements with the longest total time, if pg_stat_statements is installed.
    pub statements: Vec<Statement>,
}

/// Share of a load in one phase.
pub(crate) struct LoadShare {
    pub(crate) stats: LoadStats,
    pub(crate) pace: String,
    /// Whether it was sent in this phase, or in an earlier one.
    pub(crate) sent_here: bool,
    /// Whether its deliveries are measured in this phase.
    pub(crate) delivered_here: bool,
    pub(crate) delivered_before: u64,
}

impl LoadReport {
    /// Reports a share. `window` is the time of the load, `to_last_delivery` includes the drain.
    pub(crate) fn of(share: LoadShare, window: Window, to_last_delivery: Window) -> Self {
        let LoadShare { stats, pace, sent_here, delivered_here, delivered_before } = share;
        let delivered = stats.delivered.total().saturating_sub(delivered_before);
        let counted = |yes: bool, count: u64| if yes { count } else { 0 };
        Self {
            name: stats.name,
            pace,
            sent: counted(sent_here, stats.sent),
            accepted: counted(sent_here, stats.accepted.total()),
            delivered,
            accepted_per_second: stats.accepted.per_second(window.middle()),
            delivered_per_second: stats.delivered.per_second(window.middle()),
            delivered_per_second_overall: per(delivered as f64, to_last_delivery.seconds()),
            accept_ms: Latency::of(&stats.accept_us).filter(|_| sent_here),
            end_to_end_ms: Latency::of(&stats.end_to_end_us).filter(|_| delivered_here),
            errors: if sent_here {
                stats.errors.iter().map(|(error, count)| (error.to_string(), *count)).collect()
            } else {
                BTreeMap::new()
            },
        }
    }
}

impl Latency {
    /// Returns the distribution of latencies in microseconds, or `None` if there are none.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Option<Self> {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
        (!histogram.is_empty()).then(|| Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max() as f64 / 1_000.0,
        })
    }
}

impl Cost {
    /// Computes the cost between two readings.
    pub(crate) fn between(before: &Reading, after: &Reading, events: u64) -> Self {
        let each = |amount: f64| per(amount, events as f64);
        let processes = before.processes.iter().zip(&after.processes).map(|(before, after)| {
            let cpu_seconds = after.cpu_seconds - before.cpu_seconds;
            ProcessCost {
                name: after.name.clone(),
                cpu_seconds,
                cpu_ms_per_event: each(cpu_seconds * 1_000.0),
                resident_bytes_peak: after.resident_bytes_peak,
            }
        });
        let own = before.own_cpu_seconds.zip(after.own_cpu_seconds);
        let database = before.database.as_ref().zip(after.database.as_ref()).map(|(before, after)| {
            let grown = after.since(before);
            DatabaseCost {
                wal_bytes_per_event: each(grown.wal_bytes as f64),
                commits_per_event: each(grown.commits as f64),
                writes_per_event: each(grown.writes as f64),
                statements: grown.slowest(),
            }
        });
        Self {
            events,
            processes: processes.collect(),
            own_cpu_ms_per_event: own.map(|(before, after)| each((after - before) * 1_000.0)),
            database,
        }
    }
}

impl Report {
    /// Returns the number of lost events: 0 if the run was interrupted, because they cannot be told from those
    /// in progress.
    #[must_use]
    pub fn lost_events(&self) -> u64 {
        if self.interrupted { 0 } else { self.reconciliation.missing }
    }
}

fn per(amount: f64, of: f64) -> f64 {
    if of > 0.0 { amount / of } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::super::meters::{DatabaseReading, ProcessReading};
    use super::*;

    #[test]
    fn latencies_are_percentiles_of_the_histogram() {
        let mut histogram = Histogram::new(3).unwrap();
        assert_eq!(Latency::of(&histogram), None);
        for ms in 1..=1_000 {
            histogram.record(ms * 1_000).unwrap();
        }
        let latency = Latency::of(&histogram).unwrap();
        let near = |value: f64, wanted: f64| (value - wanted).abs() <= wanted / 1_000.0;
        assert!(near(latency.p50, 500.0) && near(latency.p90, 900.0), "{latency:?}");
        assert!(near(latency.p99, 990.0) && near(latency.p999, 999.0), "{latency:?}");
        assert!(near(latency.max, 1_000.0), "{latency:?}");
    }

    #[test]
    fn cost_is_divided_by_the_number_of_events() {
        let reading = |cpu_seconds, peak, wal_bytes, own| Reading {
            processes: vec![ProcessReading { name: "a".to_owned(), cpu_seconds, resident_bytes_peak: peak }],
            database: Some(DatabaseReading { wal_bytes, commits: wal_bytes / 10, ..Default::default() }),
            own_cpu_seconds: Some(own),
        };
        let cost = Cost::between(&reading(1.0, 7, 1_000, 0.5), &reading(3.0, 9, 3_000, 1.5), 1_000);
        let process = &cost.processes[0];
        assert_eq!((process.cpu_seconds, process.cpu_ms_per_event), (2.0, 2.0));
        assert_eq!(process.resident_bytes_peak, 9);
        assert_eq!(cost.own_cpu_ms_per_event, Some(1.0));
        let database = cost.database.unwrap();
        assert_eq!((database.wal_bytes_per_event, database.commits_per_event), (2.0, 0.2));
        let of_none = Cost::between(&reading(1.0, 7, 0, 0.0), &reading(3.0, 9, 0, 0.0), 0);
        assert_eq!(of_none.processes[0].cpu_ms_per_event, 0.0);
    }
}
