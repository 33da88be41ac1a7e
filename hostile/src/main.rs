//! `make hostile`: attacks a running installation, and measures what that costs a well-behaved tenant.

mod attacks;
mod installation;
mod neighbour;
mod report;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use tokio::time::sleep;

use attacks::Attack;
use installation::Installation;
use neighbour::Neighbour;
use report::Effect;

/// Attack HookSentry, and measure what that costs a well-behaved tenant.
///
/// Each attack has an installation of its own: one process with all roles, in a database of its own. Everything runs on
/// the loopback interface and ends with this command. Exit code 0: every webhook of the well-behaved tenant was accepted
/// and delivered; 1: not.
#[derive(Debug, Parser)]
#[command(name = "hooksentry-hostile")]
struct CommandLine {
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
    database_url: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(CommandLine::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            print(&format!("hostile: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Returns whether every webhook of the well-behaved tenant arrived.
async fn run(options: CommandLine) -> anyhow::Result<bool> {
    let attacks = if options.only.is_empty() { Attack::ALL.to_vec() } else { options.only.clone() };
    print(report::HEADER);
    let mut is_unharmed = true;
    for attack in attacks {
        let effect = measure(attack, &options).await.with_context(|| format!("the attack {attack}"))?;
        is_unharmed &= effect.is_unharmed();
        print(&effect.to_string());
    }
    Ok(is_unharmed)
}

async fn measure(attack: Attack, options: &CommandLine) -> anyhow::Result<Effect> {
    let installation = Installation::start(&options.program, &options.database_url).await?;
    let neighbour = Neighbour::register(installation.base()).await?;
    let attacker = attack.prepare(installation.base()).await?;
    // Caches and connections are warm before anything is measured.
    neighbour.send_for(Duration::from_secs(2)).await?;
    let before = neighbour.send_for(options.duration / 2).await?;
    let tasks = attack.begin(&attacker);
    sleep(Duration::from_secs(2)).await;
    let during = neighbour.send_for(options.duration).await?;
    drop(tasks);
    let after = neighbour.send_for(options.duration / 2).await?;
    installation.stop();
    Ok(Effect { attack, before, during, after })
}

fn print(text: &str) {
    // The other end of a pipe may be gone.
    let _ = writeln!(io::stdout(), "{text}");
}
