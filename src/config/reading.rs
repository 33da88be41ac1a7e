//! Reading settings from the command line and the environment.
//!
//! A flag wins over its environment variable, which wins over the default. The environment comes in
//! through a function, so that tests need none of their process. An empty variable counts as not set:
//! that is how files of variables leave something out.

use std::error::Error as _;
use std::ffi::{OsStr, OsString};

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, Parser};
use thiserror::Error;

use super::problem::SettingProblem;

/// Why a command line is not understood.
#[derive(Debug, Error)]
pub enum NotUnderstood {
    /// A setting's value is wrong.
    #[error(transparent)]
    Setting(#[from] SettingProblem),
    /// The command line is, or help was asked for. It says so itself.
    #[error(transparent)]
    Usage(clap::Error),
}

/// Reads a command line and the environment that `lookup` knows.
pub fn read<C: Parser>(
    arguments: impl IntoIterator<Item = OsString>,
    lookup: impl Fn(&OsStr) -> Option<OsString>,
) -> Result<C, NotUnderstood> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    let asked_for = arguments.clone();
    let command = C::command();
    let from_environment = flags_from_environment(&command, &arguments, lookup);
    // Right behind the name of the command.
    let place = arguments.len().min(2);
    arguments.splice(place..place, from_environment);

    let command = command.mut_subcommands(|command| command.mut_args(|arg| arg.env(Resettable::Reset)));
    let matches = command.clone().try_get_matches_from(arguments);
    match matches.and_then(|mut matches| C::from_arg_matches_mut(&mut matches)) {
        Ok(parsed) => Ok(parsed),
        Err(error) if matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation) => {
            Err(setting_problem(&C::command(), &error).map_or(NotUnderstood::Usage(error), Into::into))
        }
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            // Help names the environment variables, which the command above has been deprived of.
            let help = C::command().try_get_matches_from(asked_for).err();
            Err(NotUnderstood::Usage(help.unwrap_or(error)))
        }
        Err(error) => Err(NotUnderstood::Usage(error)),
    }
}

/// `--flag=value` for each setting of the chosen command that the environment holds.
fn flags_from_environment(
    command: &Command,
    arguments: &[OsString],
    lookup: impl Fn(&OsStr) -> Option<OsString>,
) -> Vec<OsString> {
    let chosen = arguments.get(1).and_then(|name| command.find_subcommand(name));
    let settings = chosen.into_iter().flat_map(Command::get_arguments);
    let flag = |arg: &Arg| {
        let flag = format!("--{}", arg.get_long()?);
        let given = |argument: &OsString| {
            argument
                .to_str()
                .and_then(|text| text.strip_prefix(&flag))
                .is_some_and(|rest| matches!(rest.chars().next(), None | Some('=')))
        };
        if arguments.iter().any(given) {
            return None;
        }
        let value = lookup(arg.get_env()?).filter(|value| !value.is_empty())?;
        let mut flag = OsString::from(flag + "=");
        flag.push(value);
        Some(flag)
    };
    settings.filter_map(flag).collect()
}

/// Says of which setting clap refused the value.
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
