//! Options of `hooksentry bench load` and `hooksentry bench read`.

use std::path::PathBuf;

use secrecy::SecretString;
use url::Url;

use crate::option_values::{database_url, number_between};

/// Upper bound of the webhooks of one tenant. Each takes about four kilobytes of disk.
const EVENTS_MAX: u64 = 20_000_000;

/// Fills an installation with a long history, on which `bench read` measures lists.
///
/// The facts are copied into the log without ingest, and the running projector applies them. An installation
/// with tenants that no benchmark created is refused, because the log cannot be emptied again.
#[derive(Clone, Debug, clap::Args)]
pub struct LoadOptions {
    /// Base URL of the service, which must be on this machine and allow the registration of many tenants
    /// (HOOKSENTRY_TENANT_CREATIONS_PER_HOUR=0). A low password cost saves time.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:5143")]
    pub base: Url,

    /// PostgreSQL of the service.
    #[arg(long, value_name = "URL", value_parser = database_url)]
    pub database_url: SecretString,

    /// File to write for `bench read`: the tenant, its credentials and the size of the history.
    #[arg(long, value_name = "FILE", default_value = "bench-history.json")]
    pub record: PathBuf,

    /// Number of webhooks of the measured tenant.
    #[arg(long, value_name = "NUMBER", default_value = "1000000", value_parser = number_between(1, EVENTS_MAX))]
    pub events: u64,

    /// Number of tenants, including the measured one.
    #[arg(long, value_name = "NUMBER", default_value = "100", value_parser = number_between(1_u64, 1_000))]
    pub tenants: u64,

    /// Number of webhooks of each other tenant.
    #[arg(long, value_name = "NUMBER", default_value = "2000", value_parser = number_between(0_u64, 100_000))]
    pub events_of_others: u64,

    /// Number of destinations of the measured tenant; the others have one each.
    #[arg(long, value_name = "NUMBER", default_value = "50", value_parser = number_between(1_usize, 200))]
    pub destinations: usize,

    /// Age of the oldest webhook in days; the others are spread evenly until now.
    #[arg(long, value_name = "NUMBER", default_value = "90", value_parser = number_between(1_u32, 3_650))]
    pub days: u32,
}

/// Requests every kind of list many times, and reports the latencies.
#[derive(Clone, Debug, clap::Args)]
pub struct ReadOptions {
    /// Base URL of the service that `bench load` filled, on this machine.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:5143")]
    pub base: Url,

    /// PostgreSQL of the service, to report the disk usage of each webhook.
    #[arg(long, value_name = "URL", value_parser = database_url)]
    pub database_url: Option<SecretString>,

    /// File that `bench load` wrote.
    #[arg(long, value_name = "FILE", default_value = "bench-history.json")]
    pub record: PathBuf,

    /// Number of requests of each kind.
    #[arg(long, value_name = "NUMBER", default_value = "100", value_parser = number_between(1_u32, 10_000))]
    pub repeats: u32,

    /// Request only kinds whose name contains this text.
    #[arg(long, value_name = "TEXT")]
    pub only: Option<String>,

    /// Mark kinds whose 95th percentile exceeds this latency, in milliseconds.
    #[arg(long, value_name = "MILLISECONDS", default_value = "50", value_parser = number_between(1_u32, 60_000))]
    pub threshold: u32,

    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    enum Command {
        Load(LoadOptions),
        Read(ReadOptions),
    }

    #[test]
    fn defaults_are_parsed() {
        let Command::Load(load) =
            Command::parse_from(["bench", "load", "--database-url", "postgres://x@y/z"])
        else {
            panic!("it is load");
        };
        assert_eq!((load.tenants, load.destinations, load.days), (100, 50, 90));
        let Command::Read(read) = Command::parse_from(["bench", "read"]) else { panic!("it is read") };
        assert_eq!((read.repeats, read.threshold), (100, 50));
        assert!(Command::try_parse_from(["bench", "load", "--events", "20000001"]).is_err());
    }
}
