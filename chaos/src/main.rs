//! `make chaos`: one run of the fault suite.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use hooksentry_chaos::checker::check;
use hooksentry_chaos::faults::{FaultKind, PlanSize};
use hooksentry_chaos::report::report;
use hooksentry_chaos::run::{RunOptions, run};

/// Upper bound of each kind of fault that replaces the database, unless kinds are selected.
const RARE_MAX: usize = 2;

/// Run HookSentry under faults, and check that every promise was kept.
///
/// Everything runs on the loopback interface of this machine and ends with this command. Exit code 0: no
/// violation; 1: a promise was violated, or the run failed.
#[derive(Debug, Parser)]
#[command(name = "hooksentry-chaos")]
struct CommandLine {
    /// Number from which the load and the faults follow.
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Minimum number of webhooks.
    #[arg(long, default_value_t = 20_000)]
    events: usize,

    /// Number of faults.
    #[arg(long, default_value_t = 50)]
    faults: usize,

    /// Kinds of faults, separated by commas [default: all].
    #[arg(long, value_delimiter = ',')]
    only: Vec<FaultKind>,

    /// Longest duration of a fault.
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    longest: Duration,

    /// Webhooks a second.
    #[arg(long, default_value_t = 40.0)]
    rate: f64,

    /// Timeout of one delivery attempt.
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    delivery_timeout: Duration,

    /// Number of nodes of RabbitMQ.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=3))]
    nodes: u8,

    /// Run PostgreSQL as a cluster under Patroni, with a synchronous standby.
    #[arg(long)]
    patroni: bool,

    /// The program under test.
    #[arg(long, env = "HOOKSENTRY_CHAOS_PROGRAM", default_value = "target/debug/hooksentry")]
    program: PathBuf,

    /// Folder of logs and reports.
    #[arg(long, default_value = "target/chaos")]
    output: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run_and_report(CommandLine::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            print(&format!("chaos: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run_and_report(line: CommandLine) -> anyhow::Result<bool> {
    let folder = std::path::absolute(line.output.join(format!("seed-{}", line.seed)))?;
    // Logs of an earlier run with this seed would be mixed with those of this one.
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be created", folder.display()))?;
    let (kinds, rare_max) = match line.only.is_empty() {
        true => (FaultKind::ALL.to_vec(), RARE_MAX),
        false => (line.only, line.faults),
    };
    let history = run(RunOptions {
        seed: line.seed,
        events: line.events,
        plan: PlanSize { faults: line.faults, longest: line.longest, kinds, rare_max },
        per_second: line.rate,
        program: std::path::absolute(&line.program)?,
        patroni: line.patroni,
        broker_nodes: usize::from(line.nodes),
        delivery_timeout: line.delivery_timeout,
        logs: folder.clone(),
        progress: print,
    })
    .await?;
    let verdict = check(&history);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').take(3).collect::<Vec<_>>().join(", ");
    // Times are meaningful only if the machine is not overloaded.
    let report = format!("{}\nLoad average at the end: {load}.\n", report(&history, &verdict));
    std::fs::write(folder.join("report.md"), &report)?;
    print(&report);
    if verdict.violations.is_empty() {
        return Ok(true);
    }
    let violations = verdict.print(&history);
    std::fs::write(folder.join("violations.txt"), &violations)?;
    print(&violations);
    print(&format!("the logs of all processes are in {}", folder.display()));
    Ok(false)
}

fn print(line: &str) {
    // Continue even if standard output is closed: the exit code has the result.
    let _ = writeln!(io::stdout(), "{line}");
}
