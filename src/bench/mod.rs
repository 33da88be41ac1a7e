//! `hooksentry bench`: puts load on a running HookSentry, receives what it delivers, and reports how it
//! did, so that anybody can size an installation and check the figures that are claimed.
//!
//! It is a client like any other: it makes tenants, keys and destinations through the API, sends events
//! to ingest, and is itself the destinations' receiver. Each accepted event is followed to its arrival,
//! so a report does not only say how fast things went but also that nothing was lost; if something was,
//! the program fails.
//!
//! **It shares the machine** with what it measures, so everything about it is cheap: it runs on a single
//! thread, its requests are rendered beforehand, and its own CPU time is part of the report. What is
//! slow, such as reading `/proc` or the database's statistics, happens before and after, or rarely.
//!
//! **Its clock is one clock.** Generator and receiver are one process, so the time from one to the other
//! needs no synchronised clocks.
//!
//! **It ends by itself.** Every load has a duration and a count, whichever is reached first; waiting for
//! what has not arrived has a deadline.
//!
//! The order of reading: [`options`](BenchOptions) says what can be asked for, `workloads.rs` what is
//! run, `stage.rs` how a phase is measured, `generator.rs` and `sink.rs` are the two ends, and
//! `ledger.rs` is where they meet.

mod connection;
mod fairness;
mod generator;
pub mod history;
mod ingest_request;
mod ledger;
mod meters;
mod options;
mod payload;
mod progress;
mod report;
mod setup;
mod sink;
mod stage;
mod summary;
mod tally;
mod text;
mod timeline;
mod workloads;

pub use ledger::Reconciliation;
pub use meters::{Statement, WatchedProcess};
pub use options::{BenchOptions, OptionProblem, Workload};
pub use payload::{NoMix, PayloadMix};
pub use report::{Cost, DatabaseCost, Latency, LoadReport, PhaseReport, ProcessCost, Report};
pub use summary::markdown;
pub use text::describe;

use tokio_util::sync::CancellationToken;

use meters::Meters;
use setup::Api;

/// Runs the workloads one after the other. When `stop` is cancelled, the load under way ends and nothing
/// is waited for.
pub async fn run(options: &BenchOptions, stop: &CancellationToken) -> anyhow::Result<Vec<Report>> {
    options.check()?;
    let api = Api::connect(options).await?;
    let mut meters = Meters::start(options).await?;
    let mut reports = Vec::with_capacity(options.workloads.len());
    for workload in &options.workloads {
        if !stop.is_cancelled() {
            reports.push(workloads::run(*workload, options, &api, &mut meters, stop).await?);
        }
    }
    Ok(reports)
}
