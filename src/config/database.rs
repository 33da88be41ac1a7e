//! Settings of the PostgreSQL database.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::Url;

use super::values::{ValueProblem, boolean, duration_between, is_this_machine, number_between};

/// Address of PostgreSQL, number of connections, and what may pass unencrypted.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Database")]
pub struct DatabaseSettings {
    /// PostgreSQL database of the event log and the read models.
    ///
    /// A URL such as postgres://user:password@host/database. Required, except by `dev`, which starts a
    /// private PostgreSQL if it is not set.
    #[arg(long = "database-url", env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub url: Option<DatabaseUrl>,

    /// Maximum number of connections of this process to PostgreSQL.
    ///
    /// Lower: requests wait for a connection, and fail if the wait is too long. Higher: the sum over all
    /// processes may exceed the server's `max_connections`, and processes fail to connect.
    #[arg(
        long = "database-connections",
        env = "HOOKSENTRY_DATABASE_CONNECTIONS",
        value_name = "NUMBER",
        default_value = "20",
        value_parser = number_between::<u32>(CONNECTIONS_MIN, 1_000)
    )]
    pub connections: u32,

    /// Whether PostgreSQL and RabbitMQ on other machines may be reached without TLS.
    ///
    /// If false, a `DATABASE_URL` with a host other than this machine needs `sslmode=verify-full`, and an
    /// `AMQP_URL` needs the scheme `amqps`. Payloads and credentials of tenants pass these connections: set it to
    /// true only if no other party can read the network between the machines.
    #[arg(
        long,
        env = "HOOKSENTRY_ALLOW_UNENCRYPTED_CONNECTIONS",
        value_name = "true|false",
        default_value = "false",
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = clap::ArgAction::Set,
        value_parser = boolean
    )]
    pub allow_unencrypted_connections: bool,

    /// Maximum number of further connections of this process to PostgreSQL, for lists and statistics.
    ///
    /// Only a process with the role api has them. Lower: lists of different tenants wait for each other. Higher: lists
    /// take more of the database's CPU and memory from webhooks.
    #[arg(
        long,
        env = "HOOKSENTRY_LIST_CONNECTIONS",
        value_name = "NUMBER",
        default_value = "6",
        value_parser = number_between::<u32>(1, 1_000)
    )]
    pub list_connections: u32,

    /// Timeout of a query of a list, and time that it may wait for a connection.
    ///
    /// Beyond it, the request is refused with status 503. Lower: long lists in an unusual order are refused. Higher:
    /// such lists keep others waiting for longer.
    #[arg(
        long,
        env = "HOOKSENTRY_LIST_TIMEOUT",
        value_name = "DURATION",
        default_value = "5s",
        value_parser = duration_between(Duration::from_millis(100), Duration::from_secs(60))
    )]
    pub list_timeout: Duration,

    /// Maximum number of lists of one tenant that a process queries at once.
    ///
    /// Further ones wait, and are refused with status 429 after HOOKSENTRY_LIST_TIMEOUT. Lower: users of one tenant
    /// wait for each other. Higher: fewer tenants can take all connections for lists.
    #[arg(
        long,
        env = "HOOKSENTRY_LISTS_PER_TENANT",
        value_name = "NUMBER",
        default_value = "2",
        value_parser = number_between::<usize>(1, 1_000)
    )]
    pub lists_per_tenant: usize,

    /// Percentage of the time in which a process may query lists of one tenant; 200: two lists all the time.
    ///
    /// A tenant that has rested may query for 2 s at once. Further lists wait, and are refused with status 429 after
    /// HOOKSENTRY_LIST_TIMEOUT. Lower: users of a tenant with many events wait for their lists. Higher: one tenant's
    /// lists take more of the database's CPU from webhooks.
    #[arg(
        long,
        env = "HOOKSENTRY_LIST_TIME_PERCENT",
        value_name = "PERCENT",
        default_value = "50",
        value_parser = number_between::<u32>(1, 100_000)
    )]
    pub list_time_percent: u32,
}

/// One connection permanently receives notifications of new facts; the others do the work.
const CONNECTIONS_MIN: u32 = 5;

/// The URL of a database. Its password is not printed.
#[derive(Clone)]
pub struct DatabaseUrl {
    options: PgConnectOptions,
}

impl DatabaseUrl {
    /// The options to connect with.
    #[must_use]
    pub fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// Whether what this process and the server exchange can be read or changed by no other party.
    pub(super) fn is_protected(&self) -> bool {
        self.options.get_socket().is_some()
            || is_this_machine(self.options.get_host())
            || matches!(self.options.get_ssl_mode(), PgSslMode::VerifyFull)
    }
}

impl FromStr for DatabaseUrl {
    type Err = ValueProblem;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let not_a_url =
            || ValueProblem("must be a URL such as postgres://user:password@host/database".into());
        let scheme = Url::parse(text).map_err(|_| not_a_url())?.scheme().to_owned();
        if !matches!(scheme.as_str(), "postgres" | "postgresql") {
            return Err(not_a_url());
        }
        Ok(Self { options: text.parse().map_err(|_| not_a_url())? })
    }
}

impl fmt::Display for DatabaseUrl {
    /// Prints database and host, without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let database = self.options.get_database().unwrap_or("the default database");
        match self.options.get_socket() {
            Some(socket) => write!(f, "{database} at {}", socket.display()),
            None => write!(f, "{database} at {}:{}", self.options.get_host(), self.options.get_port()),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}
