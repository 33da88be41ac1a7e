//! Benchmark of a running HookSentry, as `hooksentry bench`.
//!
//! It sends webhooks, receives their deliveries, and reports throughput, latency and cost, so that operators
//! can size an installation and check published figures. It uses the public API only: it registers tenants,
//! creates API keys and destinations, sends events to ingest, and is the destinations' receiver. Each
//! accepted event is tracked until it arrives, so a report also shows whether any was lost; if one was, the
//! program fails.
//!
//! - **CPU.** It shares the machine with the service, so its own CPU time is an error of the measurement. It
//!   runs on one thread, renders requests before a load begins, and reports its own CPU time. Slow
//!   measurements, such as those of `/proc` and of the database's statistics, are made before and after a
//!   load, or once a second.
//! - **Clock.** Sender and receiver are one process, so latencies need no synchronised clocks.
//! - **Bounds.** Every load ends after a duration or a number of events, and every wait has a deadline.
//!
//! Reading order: `options.rs` (the command line), `workloads.rs` (what is run), `workload_run.rs` (how a
//! phase is measured), `generator.rs` and `sink.rs` (sender and receiver), `event_tracker.rs` (where both
//! report).

mod connection;
mod database;
mod event_tracker;
mod fairness;
mod generator;
pub mod history;
mod ingest_request;
mod load_stats;
mod meters;
mod option_values;
mod options;
mod overload;
mod payload;
mod progress;
mod rate_series;
mod report;
mod setup;
mod sink;
mod summary;
mod text;
mod workload_run;
mod workloads;

pub use event_tracker::Reconciliation;
pub use meters::{Statement, WatchedProcess};
pub use options::{BenchOptions, OptionProblem, Workload};
pub use payload::{NoMix, PayloadMix};
pub use report::{Cost, DatabaseCost, Latency, LoadReport, PhaseReport, ProcessCost, Report};
pub use summary::markdown;
pub use text::describe;

use tokio_util::sync::CancellationToken;

use meters::Meters;
use setup::Api;

/// Runs the workloads one after the other. When `stop` is cancelled, the running load ends, and later
/// workloads are left out.
///
/// # Errors
///
/// Returns an error when the options contradict each other, the API is not ready, a tenant or destination
/// cannot be created, or a meter cannot be read. Refused and lost events are in the report instead.
pub async fn run(options: &BenchOptions, stop: &CancellationToken) -> anyhow::Result<Vec<Report>> {
    options.check()?;
    let api = Api::connect(options).await?;
    let mut meters = Meters::start(options.processes.clone(), options.database_url.as_ref()).await?;
    let mut reports = Vec::with_capacity(options.workloads.len());
    for workload in &options.workloads {
        if !stop.is_cancelled() {
            reports.push(workloads::run(*workload, options, &api, &mut meters, stop).await?);
        }
    }
    Ok(reports)
}
