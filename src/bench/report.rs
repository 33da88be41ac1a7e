//! What a run found out, for programs. How it is shown to people is in `text.rs`.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::ledger::Reconciliation;
use super::meters::{Reading, Statement};
use super::options::Workload;
use super::tally::LoadTally;
use super::timeline::Window;

/// What a workload found out.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Which workload.
    pub workload: Workload,
    /// Its parts, in their order.
    pub phases: Vec<PhaseReport>,
    /// What became of all events.
    pub reconciliation: Reconciliation,
    /// Whether it was stopped from outside, so that nothing follows from what is missing.
    pub interrupted: bool,
}

/// What a part of a workload found out.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PhaseReport {
    /// Its name within the workload.
    pub name: String,
    /// How long load was put on; without load, how long deliveries took.
    pub seconds: f64,
    /// The same, up to the last delivery.
    pub seconds_to_last_delivery: f64,
    /// What was sent.
    pub loads: Vec<LoadReport>,
    /// What it cost.
    pub cost: Cost,
}

/// What became of one load.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadReport {
    /// Its name within the phase.
    pub name: String,
    /// How it was sent.
    pub pace: String,
    /// Events that were sent.
    pub sent: u64,
    /// Events that were accepted.
    pub accepted: u64,
    /// Events that were delivered.
    pub delivered: u64,
    /// Accepted a second, over the middle three fifths.
    pub accepted_per_second: f64,
    /// Delivered a second, over the middle three fifths.
    pub delivered_per_second: f64,
    /// Delivered a second from the begin to the last delivery.
    pub delivered_per_second_overall: f64,
    /// From when an event was meant to be sent to its 202.
    pub accept_ms: Option<Latency>,
    /// From when an event was meant to be sent to its first arrival.
    pub end_to_end_ms: Option<Latency>,
    /// Events that were not accepted, by reason.
    pub errors: BTreeMap<String, u64>,
}

/// A distribution of latencies, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// Half are faster.
    pub p50: f64,
    /// 90 % are faster.
    pub p90: f64,
    /// 99 % are faster.
    pub p99: f64,
    /// 99.9 % are faster.
    pub p999: f64,
    /// The slowest.
    pub max: f64,
}

/// What a phase cost.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cost {
    /// The events among which it is divided.
    pub events: u64,
    /// Of each watched process and its descendants.
    pub processes: Vec<ProcessCost>,
    /// CPU milliseconds an event of the load generator and the receiver.
    pub own_cpu_ms_per_event: Option<f64>,
    /// Of the database.
    pub database: Option<DatabaseCost>,
}

/// What a process and its descendants cost.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessCost {
    /// Its name.
    pub name: String,
    /// CPU time.
    pub cpu_seconds: f64,
    /// CPU time an event.
    pub cpu_ms_per_event: f64,
    /// The most memory it had at once.
    pub resident_bytes_peak: u64,
}

/// What the database did.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseCost {
    /// Bytes of write-ahead log.
    pub wal_bytes_per_event: f64,
    /// Transactions, those that only read included.
    pub commits_per_event: f64,
    /// Transactions that wrote.
    pub writes_per_event: f64,
    /// The statements that took longest, where PostgreSQL counts them.
    pub statements: Vec<Statement>,
}

/// What of a load belongs to a phase.
pub(super) struct LoadShare {
    pub(super) tally: LoadTally,
    pub(super) pace: String,
    /// Whether it was sent in this phase, and not only delivered.
    pub(super) sent_here: bool,
    /// Whether it was to be delivered in this phase.
    pub(super) delivered_here: bool,
    pub(super) delivered_before: u64,
}

impl LoadReport {
    /// `window` is when load was put on, `to_last_delivery` goes on to the end of the drain.
    pub(super) fn of(share: LoadShare, window: Window, to_last_delivery: Window) -> Self {
        let LoadShare { tally, pace, sent_here, delivered_here, delivered_before } = share;
        let delivered = tally.delivered.total().saturating_sub(delivered_before);
        let counted = |yes: bool, count: u64| if yes { count } else { 0 };
        Self {
            name: tally.name,
            pace,
            sent: counted(sent_here, tally.sent),
            accepted: counted(sent_here, tally.accepted.total()),
            delivered,
            accepted_per_second: tally.accepted.per_second(window.middle()),
            delivered_per_second: tally.delivered.per_second(window.middle()),
            delivered_per_second_overall: per(delivered as f64, to_last_delivery.seconds()),
            accept_ms: Latency::of(&tally.accept_us).filter(|_| sent_here),
            end_to_end_ms: Latency::of(&tally.end_to_end_us).filter(|_| delivered_here),
            errors: if sent_here {
                tally.errors.iter().map(|(error, count)| (error.to_string(), *count)).collect()
            } else {
                BTreeMap::new()
            },
        }
    }
}

impl Latency {
    /// The distribution of what was recorded in microseconds, if anything was.
    pub(super) fn of(histogram: &Histogram<u64>) -> Option<Self> {
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
    /// What was used between two readings, for so many events.
    pub(super) fn between(before: &Reading, after: &Reading, events: u64) -> Self {
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
    /// How many events were lost, as far as one can tell.
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
    fn latencies_are_read_off_the_histogram() {
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
    fn what_was_used_is_divided_among_the_events() {
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
