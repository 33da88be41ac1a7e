//! What the program can do is in [`hooksentry::commands`]; this starts it and says how it ended.

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use hooksentry::commands::{CommandLine, CouldNotCompare};
use hooksentry::config::{self, CommandLineError};

/// The exit code of a command line that was not understood, as shells have it.
const USAGE: u8 = 2;

/// The exit code of a comparison that was not made, as `diff` has it: a difference would be a failure.
const NO_ANSWER: u8 = 2;

/// How long work on blocking threads may take to end. What is left then, a password being hashed, is
/// nobody's any more.
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
            // Some settings can only be judged by a command, against one another.
            if error.is::<config::SettingProblem>() {
                USAGE.into()
            } else if error.is::<CouldNotCompare>() {
                NO_ANSWER.into()
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn run(command_line: CommandLine) -> anyhow::Result<()> {
    // Every TLS connection of the program, to whatever it leads, uses this one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(command_line.command.run());
    runtime.shutdown_timeout(BLOCKING_ENDS_WITHIN);
    ended
}

fn print_error(problem: &dyn std::fmt::Display) {
    // Nobody is left to tell when this cannot be written.
    let _ = writeln!(io::stderr(), "hooksentry: {problem}");
}
