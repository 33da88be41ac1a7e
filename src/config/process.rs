//! Settings of startup, shutdown and the log.

use std::str::FromStr;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::values::{ValueProblem, duration_between};

/// Startup timeout.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Process")]
pub struct StartSettings {
    /// Time at startup within which PostgreSQL and RabbitMQ must be reachable.
    ///
    /// Lower: a process that starts together with its database fails. Higher: a wrong address is reported
    /// later.
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

/// Shutdown deadline.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Process")]
pub struct StopSettings {
    /// Time within which work in progress must finish after SIGINT or SIGTERM.
    ///
    /// Lower (than the delivery timeout): attempts are aborted; their outcome is unknown, and they are
    /// repeated. Higher (than the time after which the supervisor kills the process): the same.
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

/// Log of the process, on standard error.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Log")]
pub struct LogSettings {
    /// Log level (error, warn, info, debug, trace), or levels by module such as
    /// info,hooksentry::worker=debug.
    ///
    /// Lower (error, warn): starts and stops are not logged. Higher (debug, trace): logging takes more CPU
    /// and disk.
    #[arg(long = "log", env = "HOOKSENTRY_LOG", value_name = "FILTER", default_value = "info")]
    pub filter: LogFilter,

    /// Log format: text for people, json for log collectors.
    #[arg(
        long = "log-format",
        env = "HOOKSENTRY_LOG_FORMAT",
        value_name = "text|json",
        default_value = "text"
    )]
    pub format: LogFormat,
}

/// Client library of the broker. It logs every lost connection as an error, although the queue reconnects and
/// logs that itself.
const BROKER_CLIENT: &str = "lapin";

/// Valid filter of tracing-subscriber.
#[derive(Clone, Debug)]
pub struct LogFilter(String);

impl LogFilter {
    /// Returns the filter, which disables the broker's client library unless it names it.
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

/// Format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
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
