//! Starting, stopping and logging.

use std::str::FromStr;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::values::{ValueProblem, duration_between};

/// Patience at the start.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Process")]
pub struct StartSettings {
    /// How long PostgreSQL and RabbitMQ are tried at the start before the program gives up.
    ///
    /// Too short and a program that starts with its database fails; too long and a wrong address is
    /// noticed late.
    #[arg(
        id = "start-timeout",
        long,
        env = "HOOKSENTRY_START_TIMEOUT",
        value_name = "DURATION",
        default_value = "60s",
        value_parser = duration_between(Duration::from_millis(1), Duration::from_secs(3_600))
    )]
    pub timeout: Duration,
}

/// Patience at the end.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Process")]
pub struct StopSettings {
    /// How long work in hand may take to finish once the program is told to stop.
    ///
    /// Shorter than an attempt may take and some are cut off: their outcome is unknown, and they are
    /// repeated. Longer than the supervisor waits before it kills and the same happens.
    #[arg(
        id = "shutdown-deadline",
        long,
        env = "HOOKSENTRY_SHUTDOWN_DEADLINE",
        value_name = "DURATION",
        default_value = "40s",
        value_parser = duration_between(Duration::ZERO, Duration::from_secs(3_600))
    )]
    pub deadline: Duration,
}

/// The program's own log, on standard error.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Log")]
pub struct LogSettings {
    /// What is logged: a level, or levels by module such as info,hooksentry::worker=debug.
    ///
    /// `warn` hides what happens; `debug` and `trace` cost time and disk.
    #[arg(long = "log", env = "HOOKSENTRY_LOG", value_name = "FILTER", default_value = "info")]
    pub filter: LogFilter,

    /// How it is written: text for people, json for machines.
    #[arg(
        long = "log-format",
        env = "HOOKSENTRY_LOG_FORMAT",
        value_name = "text|json",
        default_value = "text"
    )]
    pub format: LogFormat,
}

/// The client library of the broker. It logs every lost connection as an error, and we connect again, and
/// say so ourselves.
const BROKER_CLIENT: &str = "lapin";

/// A filter of tracing-subscriber that is known to parse.
#[derive(Clone, Debug)]
pub struct LogFilter(String);

impl LogFilter {
    /// The filter. The broker's client library is silent unless it is named.
    #[must_use]
    pub fn filter(&self) -> EnvFilter {
        match self.0.contains(BROKER_CLIENT) {
            true => EnvFilter::new(&self.0),
            false => EnvFilter::new(format!("{},{BROKER_CLIENT}=off", self.0)),
        }
    }
}

impl FromStr for LogFilter {
    type Err = ValueProblem;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match EnvFilter::try_new(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => Err(ValueProblem(
                "must be a level (error, warn, info, debug, trace), or levels by module such as \
                 info,hooksentry::worker=debug"
                    .to_owned(),
            )),
        }
    }
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = ValueProblem;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(ValueProblem("must be text or json".to_owned())),
        }
    }
}
