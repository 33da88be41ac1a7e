//! `hooksentry bench`: load, a receiver, and a report; or a long history, and reads on it.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Subcommand;
use tokio_util::sync::CancellationToken;

use crate::bench::history::{self, LoadOptions, ReadOptions};
use crate::bench::{self, BenchOptions, Report};
use crate::lifecycle::Lifecycle;

/// The benchmark.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Bench {
    /// Something else than load.
    #[command(subcommand)]
    pub other: Option<Other>,
    /// What is measured and how.
    #[command(flatten)]
    pub options: BenchOptions,
}

/// What can be done beside putting load on it.
#[derive(Debug, Subcommand)]
pub enum Other {
    /// Fill an installation of its own with a long history.
    Load(LoadOptions),
    /// Measure lists and statistics on what `load` made.
    Read(ReadOptions),
}

impl Bench {
    /// Fails when an accepted event did not arrive. The first signal ends the load under way, so that what
    /// was found out until then is still reported.
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let lifecycle = Lifecycle::new(Duration::from_secs(1));
        lifecycle.handle_signals()?;
        match &self.other {
            Some(Other::Load(options)) => return load(options, &lifecycle.intake()).await,
            Some(Other::Read(options)) => return read(options, &lifecycle.intake()).await,
            None => {}
        }
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

async fn load(options: &LoadOptions, stop: &CancellationToken) -> anyhow::Result<()> {
    let loaded = history::load(options, stop, |progress| {
        // Whoever started this may have stopped reading; the work goes on.
        let _ = writeln!(io::stderr(), "{progress}");
    })
    .await?;
    let per_second = |time: Duration| loaded.facts as f64 / time.as_secs_f64();
    writeln!(
        io::stdout(),
        "{} webhooks, {} facts: in the log after {:.0} s ({:.0} facts/s), folded after {:.0} s ({:.0} facts/s)",
        loaded.events,
        loaded.facts,
        loaded.copied_in.as_secs_f64(),
        per_second(loaded.copied_in),
        loaded.folded_in.as_secs_f64(),
        per_second(loaded.folded_in),
    )?;
    if stop.is_cancelled() {
        bail!("stopped before all was loaded and folded");
    }
    Ok(())
}

async fn read(options: &ReadOptions, stop: &CancellationToken) -> anyhow::Result<()> {
    let report = history::read(options, stop).await?;
    let text = if options.json {
        serde_json::to_string_pretty(&report)? + "\n"
    } else {
        report.markdown(options.bar)
    };
    io::stdout().write_all(text.as_bytes()).context("the report cannot be printed")
}
