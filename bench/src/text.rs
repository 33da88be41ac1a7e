//! Reports as text.

use std::fmt::Write as _;

use super::report::{Cost, Latency, LoadReport, PhaseReport, Report};

/// Renders a report as text.
#[must_use]
pub fn describe(report: &Report) -> String {
    let mut text = format!("{}\n", report.workload);
    for phase in &report.phases {
        describe_phase(&mut text, phase);
    }
    describe_reconciliation(&mut text, report);
    text
}

// Writing to a string cannot fail, so results of `write!` are dropped here and below.
fn describe_phase(text: &mut String, phase: &PhaseReport) {
    let _ = writeln!(
        text,
        "  {} ({:.1} s, {:.1} s to the last delivery)",
        phase.name, phase.seconds, phase.seconds_to_last_delivery
    );
    for load in &phase.loads {
        describe_load(text, load);
    }
    describe_cost(text, &phase.cost);
}

fn describe_load(text: &mut String, load: &LoadReport) {
    let _ = writeln!(text, "    {}: {}", load.name, load.pace);
    if load.sent > 0 {
        let _ = writeln!(
            text,
            "      accepted {:>12}{:>14}/s",
            grouped(load.accepted),
            grouped(load.accepted_per_second as u64)
        );
    }
    let _ = writeln!(
        text,
        "      delivered {:>11}{:>14}/s, {}/s overall",
        grouped(load.delivered),
        grouped(load.delivered_per_second as u64),
        grouped(load.delivered_per_second_overall as u64)
    );
    if load.accept_ms.is_some() || load.end_to_end_ms.is_some() {
        let _ = writeln!(
            text,
            "      {:14}{:>10}{:>10}{:>10}{:>10}{:>10}",
            "ms", "p50", "p90", "p99", "p99.9", "max"
        );
    }
    for (name, latency) in [("accept", load.accept_ms), ("end to end", load.end_to_end_ms)] {
        if let Some(Latency { p50, p90, p99, p999, max }) = latency {
            let _ = writeln!(text, "      {name:14}{p50:>10.2}{p90:>10.2}{p99:>10.2}{p999:>10.2}{max:>10.2}");
        }
    }
    for (error, count) in &load.errors {
        let _ = writeln!(text, "      not accepted: {} × {error}", grouped(*count));
    }
}

fn describe_cost(text: &mut String, cost: &Cost) {
    if let Some(own) = cost.own_cpu_ms_per_event {
        let _ = writeln!(text, "    {:<24}{own:>8.3} ms CPU an event", "generator and receiver");
    }
    for process in &cost.processes {
        let _ = writeln!(
            text,
            "    {:<24}{:>8.3} ms CPU an event, {:.1} s in total, peak memory {}",
            process.name,
            process.cpu_ms_per_event,
            process.cpu_seconds,
            mebibytes(process.resident_bytes_peak)
        );
    }
    let Some(database) = &cost.database else { return };
    let _ = writeln!(
        text,
        "    {:<24}{:.0} bytes of WAL, {:.3} commits ({:.3} that wrote) an event",
        "database", database.wal_bytes_per_event, database.commits_per_event, database.writes_per_event
    );
    let events = cost.events.max(1) as f64;
    for statement in &database.statements {
        let _ = writeln!(
            text,
            "      {:>8.3} ms{:>8.3} calls{:>8.3} rows{:>8.0} bytes  {}",
            statement.milliseconds / events,
            statement.calls as f64 / events,
            statement.rows as f64 / events,
            statement.wal_bytes as f64 / events,
            statement.text
        );
    }
}

fn describe_reconciliation(text: &mut String, report: &Report) {
    let counts = &report.reconciliation;
    let _ = write!(
        text,
        "  of {} accepted events {} were delivered",
        grouped(counts.accepted),
        grouped(counts.delivered)
    );
    for (count, what) in [
        (counts.missing, "MISSING"),
        (counts.held_back, "held back by hanging receivers"),
        (counts.awaiting_retry, "failed on purpose and not retried yet"),
        (counts.unanswered, "arrived, but the sender hung up"),
    ] {
        if count > 0 {
            let _ = write!(text, ", {} {what}", grouped(count));
        }
    }
    let _ = writeln!(text, "; {} repeated arrivals", grouped(counts.repeats));
    if counts.retried > 0 {
        let _ = writeln!(text, "  {} were retried after a failure on purpose", grouped(counts.retried));
    }
    if counts.unclaimed > 0 {
        let _ = writeln!(text, "  {} arrived without a 202", grouped(counts.unclaimed));
    }
    if report.interrupted {
        let _ = writeln!(text, "  interrupted: missing events may have been in progress");
    }
}

/// Formats a number with commas between thousands.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Formats a size in MiB, rounded down.
pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", grouped(bytes >> 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated() {
        let texts: Vec<_> = [0, 999, 1_000, 65_536, 1_234_567].into_iter().map(grouped).collect();
        assert_eq!(texts, ["0", "999", "1,000", "65,536", "1,234,567"]);
        assert_eq!(mebibytes(5 << 30), "5,120 MiB");
    }
}
