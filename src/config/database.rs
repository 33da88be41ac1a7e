//! The database.

use std::fmt;
use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;
use url::Url;

use super::values::{ValueProblem, number_between};

/// Where PostgreSQL is and how much of it to use.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Database")]
pub struct DatabaseSettings {
    /// The PostgreSQL that holds the event log and the read models.
    ///
    /// A URL such as postgres://user:password@host/database. `dev` starts a private PostgreSQL when there
    /// is none; every other command needs it.
    #[arg(long = "database-url", env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub url: Option<DatabaseUrl>,

    /// Connections to PostgreSQL that this process may hold.
    ///
    /// Too few and requests wait for one another, then fail; the sum over all processes above what the
    /// server allows (its `max_connections`) and some processes find no connection at all.
    #[arg(
        long = "database-connections",
        env = "HOOKSENTRY_DATABASE_CONNECTIONS",
        value_name = "NUMBER",
        default_value = "20",
        value_parser = number_between::<u32>(CONNECTIONS_MIN, 1_000)
    )]
    pub connections: u32,
}

/// One is held for good, to hear of new facts; the rest does the work.
const CONNECTIONS_MIN: u32 = 5;

/// The URL of a database. Its password is not printed.
#[derive(Clone)]
pub struct DatabaseUrl {
    options: PgConnectOptions,
}

impl DatabaseUrl {
    /// How to connect.
    #[must_use]
    pub fn options(&self) -> &PgConnectOptions {
        &self.options
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
    /// Where it is, without who we are there.
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
