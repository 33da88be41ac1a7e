//! Summary of reports: a Markdown table with the rows of `docs/performance.md`.

use super::options::Workload;
use super::report::{Latency, LoadReport, PhaseReport, Report};
use super::text::{grouped, mebibytes};

/// Name of a figure, and the figure.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row(String, String);

/// Renders a Markdown table of the figures of all reports.
#[must_use]
pub fn markdown(reports: &[Report]) -> String {
    let mut text = String::from("| Workload | Measured |\n|---|---|\n");
    for Row(name, figure) in reports.iter().flat_map(rows) {
        text.push_str(&format!("| {name} | {figure} |\n"));
    }
    text
}

fn rows(report: &Report) -> Vec<Row> {
    let mut rows: Vec<Row> =
        report.phases.iter().flat_map(|phase| phase_rows(report.workload, phase)).collect();
    let counts = &report.reconciliation;
    let lost = match (report.interrupted, counts.missing) {
        (true, _) => "interrupted".to_owned(),
        (false, missing) => format!("{} of {}", grouped(missing), grouped(counts.accepted)),
    };
    rows.push(Row(format!("Accepted events that did not arrive ({})", report.workload), lost));
    rows
}

fn phase_rows(workload: Workload, phase: &PhaseReport) -> Vec<Row> {
    let Some(load) = phase.loads.first() else { return Vec::new() };
    let per_second = |name: &str, rate: f64| Row(name.to_owned(), grouped(rate as u64));
    match workload {
        Workload::Custom | Workload::Sustained => {
            let mut rows =
                vec![per_second(&format!("Delivered/s sustained, {}", load.pace), load.delivered_per_second)];
            rows.extend(cost_rows(&format!("delivered, {}", load.pace), phase));
            rows
        }
        Workload::Destinations => {
            let mut rows = vec![per_second(
                &format!("Delivered/s, {} destinations", phase.name),
                load.delivered_per_second,
            )];
            rows.extend(cost_rows(&format!("delivered, {} destinations", phase.name), phase));
            rows
        }
        Workload::Latency => {
            let mut rows = latency_rows(&phase.name, load);
            rows.extend(cost_rows(&format!("delivered at {} open loop", phase.name), phase));
            rows
        }
        Workload::Overload => {
            let name = |what: &str| format!("Overload, {}: {what}", phase.name);
            let after = phase.seconds_to_last_delivery - phase.seconds;
            let mut rows = vec![
                per_second(&name("delivered/s"), load.delivered_per_second),
                Row(name("accepted; not accepted"), {
                    let refused: u64 = load.errors.values().sum();
                    format!("{}; {}", grouped(load.accepted), grouped(refused))
                }),
                Row(name("end to end p50 / p99"), pair(load.end_to_end_ms)),
                Row(name("seconds until all is delivered"), format!("{after:.1}")),
            ];
            rows.extend(memory_row(&name("peak resident memory"), phase));
            rows
        }
        Workload::AcceptOnly if load.sent > 0 => {
            let name = format!("Accepted/s, deliveries held back, {}", load.pace);
            let mut rows = vec![per_second(&name, load.accepted_per_second)];
            rows.extend(cost_rows("accepted", phase));
            rows
        }
        Workload::AcceptOnly => Vec::new(),
        Workload::Backlog if load.sent > 0 => memory_rows(phase, load.accepted),
        Workload::Backlog => {
            let name = "Delivered/s from a backlog, ingest idle";
            let mut rows = vec![per_second(name, load.delivered_per_second)];
            rows.extend(cost_rows("delivered from the backlog", phase));
            rows
        }
        Workload::Fairness => {
            let end_to_end = pair(load.end_to_end_ms);
            vec![Row(format!("Fairness, end to end p50 / p99 of the others, {}", phase.name), end_to_end)]
        }
    }
}

fn latency_rows(rate: &str, load: &LoadReport) -> Vec<Row> {
    vec![
        Row(format!("Accept latency p50 / p99 at {rate} open loop"), pair(load.accept_ms)),
        Row(format!("End to end p50 / p99 at {rate} open loop"), pair(load.end_to_end_ms)),
    ]
}

fn cost_rows(event: &str, phase: &PhaseReport) -> Vec<Row> {
    let cost = &phase.cost;
    let mut rows = Vec::new();
    if !cost.processes.is_empty() {
        let sum: f64 = cost.processes.iter().map(|process| process.cpu_ms_per_event).sum();
        let parts: Vec<_> = cost
            .processes
            .iter()
            .map(|process| format!("{} {:.3}", process.name, process.cpu_ms_per_event))
            .collect();
        let figure = format!("{sum:.3} ({})", parts.join(", "));
        rows.push(Row(format!("CPU ms per event {event}"), figure));
    }
    if let Some(database) = &cost.database {
        let figure = format!(
            "{:.3} ({:.3} that wrote); {:.0}",
            database.commits_per_event, database.writes_per_event, database.wal_bytes_per_event
        );
        rows.push(Row(format!("Commits per event {event}; WAL bytes"), figure));
    }
    rows
}

fn memory_rows(phase: &PhaseReport, waiting: u64) -> Vec<Row> {
    memory_row(&format!("Peak resident memory, {} events waiting", grouped(waiting)), phase)
        .into_iter()
        .collect()
}

fn memory_row(name: &str, phase: &PhaseReport) -> Option<Row> {
    let part = |process: &super::report::ProcessCost| {
        format!("{} {}", process.name, mebibytes(process.resident_bytes_peak))
    };
    let parts: Vec<_> = phase.cost.processes.iter().map(part).collect();
    (!parts.is_empty()).then(|| Row(name.to_owned(), parts.join(", ")))
}

fn pair(latency: Option<Latency>) -> String {
    latency.map_or_else(|| "-".to_owned(), |latency| format!("{:.1} / {:.1} ms", latency.p50, latency.p99))
}
