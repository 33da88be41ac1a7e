//! `hooksentry bench`: measures a running service; with `load` and `read`, lists on a long history.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Subcommand;
use hooksentry_bench::history::{self, LoadOptions, ReadOptions};
use hooksentry_bench::{BenchOptions, Report};
use tokio_util::sync::CancellationToken;

use crate::lifecycle::Lifecycle;

/// Arguments of `hooksentry bench`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Bench {
    #[command(subcommand)]
    pub history: Option<History>,
    #[command(flatten)]
    pub options: BenchOptions,
}

/// Benchmark of lists on a long history.
#[derive(Debug, Subcommand)]
pub enum History {
    /// Fill an installation with a long history.
    Load(LoadOptions),
    /// Measure lists and statistics on the history that `load` created.
    Read(ReadOptions),
}

impl Bench {
    /// Fails when an accepted event did not arrive. The first signal ends the running load, and the results
    /// so far are still reported.
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let lifecycle = Lifecycle::new(Duration::from_secs(1));
        lifecycle.handle_signals()?;
        match &self.history {
            Some(History::Load(options)) => return load(options, &lifecycle.intake()).await,
            Some(History::Read(options)) => return read(options, &lifecycle.intake()).await,
            None => {}
        }
        let (options, stop, hard) = (self.options.clone(), lifecycle.intake(), lifecycle.hard());
        let measuring = tokio::task::spawn_blocking(move || measure(&options, &stop));
        let reports = tokio::select! {
            measured = measuring => measured.context("the benchmark panicked")??,
            () = hard.cancelled() => bail!("stopped without a report"),
        };
        print(&self.render(&reports)?)?;
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
        let summary = hooksentry_bench::markdown(reports);
        if self.options.markdown {
            return Ok(summary);
        }
        let texts: Vec<_> = reports.iter().map(hooksentry_bench::describe).collect();
        Ok(format!("{}\n{summary}", texts.join("\n")))
    }
}

/// Runs the benchmark on one thread, because it shares the cores with what it measures.
fn measure(options: &BenchOptions, stop: &CancellationToken) -> anyhow::Result<Vec<Report>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(hooksentry_bench::run(options, stop))
}

async fn load(options: &LoadOptions, stop: &CancellationToken) -> anyhow::Result<()> {
    let loaded = history::load(options, stop, |progress| {
        // A closed standard error does not stop the load.
        let _ = writeln!(io::stderr(), "{progress}");
    })
    .await?;
    let per_second = |time: Duration| loaded.facts as f64 / time.as_secs_f64();
    print(&format!(
        "{} webhooks, {} facts: in the log after {:.0} s ({:.0} facts/s), in the read models after {:.0} s ({:.0} facts/s)\n",
        loaded.events,
        loaded.facts,
        loaded.copied_in.as_secs_f64(),
        per_second(loaded.copied_in),
        loaded.applied_in.as_secs_f64(),
        per_second(loaded.applied_in),
    ))?;
    if stop.is_cancelled() {
        bail!("stopped before the history was complete");
    }
    Ok(())
}

async fn read(options: &ReadOptions, stop: &CancellationToken) -> anyhow::Result<()> {
    let report = history::read(options, stop).await?;
    let text = if options.json {
        serde_json::to_string_pretty(&report)? + "\n"
    } else {
        report.markdown(options.threshold)
    };
    print(&text)
}

fn print(text: &str) -> anyhow::Result<()> {
    io::stdout().write_all(text.as_bytes()).context("the report cannot be printed")
}
