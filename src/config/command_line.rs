//! Parsing of the command line and the environment.
//!
//! A flag wins over its environment variable, and that over the default.

use std::env;
use std::error::Error as _;
use std::ffi::OsString;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, Parser};
use thiserror::Error;

use super::problem::SettingProblem;

/// Reason why a command line is not accepted.
#[derive(Debug, Error)]
pub enum CommandLineError {
    #[error(transparent)]
    Setting(#[from] SettingProblem),
    /// An unknown argument, or a request for help or the version. The error prints itself.
    #[error(transparent)]
    Usage(clap::Error),
}

/// Parses a command line, whose first element is the name of the program, and the environment.
///
/// # Errors
/// An argument is unknown, a value is invalid, or help was asked for.
pub fn parse<C: Parser>(arguments: impl IntoIterator<Item = OsString>) -> Result<C, CommandLineError> {
    let command = C::command().mut_subcommands(|command| command.mut_args(without_empty_variable));
    let matches = command.try_get_matches_from(arguments);
    matches.and_then(|mut matches| C::from_arg_matches_mut(&mut matches)).map_err(|error| {
        match error.kind() {
            ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
                setting_problem(&C::command(), &error).map_or(CommandLineError::Usage(error), Into::into)
            }
            _ => CommandLineError::Usage(error),
        }
    })
}

/// An empty variable counts as not set: files of variables cannot omit a setting in any other way.
fn without_empty_variable(arg: Arg) -> Arg {
    let value = arg.get_env().and_then(env::var_os);
    if value.is_some_and(|value| value.is_empty()) { arg.env(Resettable::Reset) } else { arg }
}

/// Returns the error with the name of the setting whose value clap refused; `None` if it is not a setting.
fn setting_problem(command: &Command, error: &clap::Error) -> Option<SettingProblem> {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let named = text(ContextKind::InvalidArg)?;
    let long = named.strip_prefix("--")?.split(['=', ' ', '[']).next()?;
    let arg = command
        .get_subcommands()
        .flat_map(Command::get_arguments)
        .find(|arg| arg.get_long() == Some(long) && arg.get_env().is_some())?;
    let setting = arg.get_env()?.to_str()?.to_owned();
    let allowed = error.source().map_or_else(|| "is not allowed".to_owned(), ToString::to_string);
    if arg.is_hide_env_values_set() {
        return Some(SettingProblem::InvalidSecret { setting, allowed });
    }
    let value = text(ContextKind::InvalidValue).unwrap_or_default().to_owned();
    Some(SettingProblem::Invalid { setting, value, allowed })
}
