//! Entry point: parses the command line, runs a command of [`hooksentry::commands`], and sets the exit code.

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use hooksentry::commands::{CommandLine, ComparisonFailed, NotChecked};
use hooksentry::config::{self, CommandLineError, SettingProblem};
use tikv_jemallocator::Jemalloc;

/// Takes less of the processor than glibc's, and returns memory after a time in which much was needed.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Exit code for invalid arguments and settings, by the convention of shells.
const USAGE: u8 = 2;

/// Exit code for a comparison that failed, by the convention of `diff`, where 1 means a difference.
const COMPARISON_FAILED: u8 = 2;

/// Time within which work on blocking threads must end. After it, no request waits for that work (hashing of a
/// password).
const BLOCKING_ENDS_WITHIN: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let command_line: CommandLine = match config::parse(env::args_os()) {
        Ok(command_line) => command_line,
        Err(CommandLineError::Usage(usage)) => usage.exit(),
        Err(CommandLineError::Setting(problem)) => {
            print_error(&problem);
            return USAGE.into();
        }
    };
    match run(command_line) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(&format_args!("{error:#}"));
            // Some settings are checked by the command, against each other.
            if error.is::<SettingProblem>() {
                USAGE.into()
            } else if error.is::<ComparisonFailed>() || error.is::<NotChecked>() {
                COMPARISON_FAILED.into()
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn run(command_line: CommandLine) -> anyhow::Result<()> {
    // Every TLS connection of the program uses this provider. A second installation cannot happen.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(command_line.command.run());
    runtime.shutdown_timeout(BLOCKING_ENDS_WITHIN);
    result
}

fn print_error(problem: &dyn std::fmt::Display) {
    // Ignore a failing stderr.
    let _ = writeln!(io::stderr(), "hooksentry: {problem}");
}
