//! `make hostile`: attacks a running installation, and measures what that costs a well-behaved tenant.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};
use hooksentry_hostile::attacker;
use hooksentry_hostile::attacks::Attack;
use hooksentry_hostile::report;
use hooksentry_hostile::run::{RunOptions, measure};

/// Attack HookSentry, and measure what that costs a well-behaved tenant.
///
/// Each attack has an installation of its own: one process with all roles, in a database of its own. Everything runs on
/// the loopback interface and ends with this command. Exit code 0: every webhook of the well-behaved tenant was accepted
/// and delivered; 1: not.
#[derive(Debug, Parser)]
#[command(name = "hooksentry-hostile")]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Be the attacker of one attack: begin at a line on stdin, and end with it.
    #[command(hide = true)]
    Attack { attack: Attack, base: String },
}

#[derive(Debug, clap::Args)]
struct Options {
    /// Attacks, separated by commas [default: all].
    #[arg(long, value_delimiter = ',')]
    only: Vec<Attack>,

    /// Duration of each attack, and twice the time before and after it.
    #[arg(long, default_value = "20s", value_parser = humantime::parse_duration)]
    duration: Duration,

    /// The program under test.
    #[arg(long, env = "HOOKSENTRY_HOSTILE_PROGRAM", default_value = "target/debug/hooksentry")]
    program: PathBuf,

    /// URL of a PostgreSQL server in which databases may be created.
    #[arg(long, env = "HOOKSENTRY_TEST_DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let CommandLine { command, options } = CommandLine::parse();
    let ended = match command {
        Some(Command::Attack { attack, base }) => attacker::run(attack, &base).await.map(|()| true),
        None => run(options).await,
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            print(&format!("hostile: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Returns whether every webhook of the well-behaved tenant arrived.
async fn run(options: Options) -> anyhow::Result<bool> {
    let Options { only, duration, program, database_url } = options;
    let database_url = database_url.context("--database-url or HOOKSENTRY_TEST_DATABASE_URL is missing")?;
    let attacker = std::env::current_exe().context("the path of this program")?;
    let attacks = if only.is_empty() { Attack::ALL.to_vec() } else { only };
    let options = RunOptions { warm_up: Duration::from_secs(2), duration, program, attacker, database_url };
    print(report::HEADER);
    let mut is_unharmed = true;
    for attack in attacks {
        let effect = measure(attack, &options).await.with_context(|| format!("the attack {attack}"))?;
        is_unharmed &= effect.is_unharmed();
        print(&effect.to_string());
    }
    Ok(is_unharmed)
}

fn print(text: &str) {
    // The other end of a pipe may be gone.
    let _ = writeln!(io::stdout(), "{text}");
}
