//! `hooksentry bench`: load, a receiver, and a report.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio_util::sync::CancellationToken;

use crate::bench::{self, BenchOptions, Report};
use crate::lifecycle::Lifecycle;

/// The benchmark.
#[derive(Debug, clap::Args)]
pub struct Bench {
    /// What is measured and how.
    #[command(flatten)]
    pub options: BenchOptions,
}

impl Bench {
    /// Fails when an accepted event did not arrive. The first signal ends the load under way, so that what
    /// was found out until then is still reported.
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let lifecycle = Lifecycle::new(Duration::from_secs(1));
        lifecycle.attend_to_signals()?;
        let (options, stop, hard) = (self.options.clone(), lifecycle.intake(), lifecycle.hard());
        let measuring = tokio::task::spawn_blocking(move || measure(&options, &stop));
        let reports = tokio::select! {
            measured = measuring => measured.context("the benchmark panicked")??,
            () = hard.cancelled() => bail!("stopped without a report"),
        };
        io::stdout().write_all(self.render(&reports)?.as_bytes()).context("the report cannot be printed")?;
        let missing: u64 = reports.iter().map(Report::lost_events).sum();
        if missing > 0 {
            bail!("{missing} accepted events did not arrive");
        }
        Ok(())
    }

    fn render(&self, reports: &[Report]) -> anyhow::Result<String> {
        if self.options.json {
            let report = serde_json::json!({ "workloads": reports });
            return Ok(serde_json::to_string_pretty(&report)? + "\n");
        }
        let summary = bench::markdown(reports);
        if self.options.markdown {
            return Ok(summary);
        }
        let texts: Vec<_> = reports.iter().map(bench::describe).collect();
        Ok(format!("{}\n{summary}", texts.join("\n")))
    }
}

/// Everything happens on a single thread: the fewer cores it takes from what it measures, the better.
fn measure(options: &BenchOptions, stop: &CancellationToken) -> anyhow::Result<Vec<Report>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(bench::run(options, stop))
}
