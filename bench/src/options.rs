//! Options of `hooksentry bench`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use secrecy::SecretString;
use serde::Serialize;
use thiserror::Error;
use url::Url;

use crate::meters::WatchedProcess;
use crate::option_values::{database_url, duration_between, number_between};
use crate::payload::PayloadMix;

/// Upper bound of the duration of a load, and of the drain after it. Memory of a run grows with both.
const DURATION_MAX: Duration = Duration::from_secs(3_600);
/// Duration of a load.
const DURATION_DEFAULT: Duration = Duration::from_secs(20);
/// Upper bound of the events of one load. Each takes about a hundred bytes of memory.
const EVENTS_MAX: u64 = 10_000_000;
/// Upper bound of the connections of one load.
const CONNECTIONS_MAX: usize = 10_000;
/// Upper bound of the tenants, and of the destinations of each.
const ACCOUNTS_MAX: usize = 1_000;
/// Upper bound of events a second; above it, one machine's clock and sockets are the limit.
const RATE_MAX: f64 = 1_000_000.0;

/// Sends webhooks to a running HookSentry, receives their deliveries, and reports throughput, latency and cost.
///
/// It creates its own tenants, destinations and keys through the API, and stops by itself. The service must
/// allow it to register many tenants (HOOKSENTRY_TENANT_CREATIONS_PER_HOUR=0) and to deliver to plain HTTP
/// receivers on this machine (HOOKSENTRY_ALLOW_INSECURE_DESTINATIONS=true). Exits with 1 when an accepted
/// event did not arrive.
#[derive(Clone, Debug, clap::Args)]
pub struct BenchOptions {
    /// Workloads to run, one after the other: a load that the options below describe, or a predefined one.
    #[arg(value_name = "WORKLOAD", value_enum, value_delimiter = ',', default_value = "custom")]
    pub workloads: Vec<Workload>,

    /// Base URL of the service. Plain HTTP only: measure it without the proxy that terminates TLS.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:5143")]
    pub base: Url,

    /// Allow a service, or a receiver address, that is not on this machine.
    #[arg(long)]
    pub allow_remote: bool,

    /// Send this many events a second in an open loop: independently of the answers, with latency measured
    /// from the scheduled time of each event. Without it, each connection sends the next event when it has
    /// its answer (closed loop).
    #[arg(long, value_name = "PER_SECOND", value_parser = number_between(0.01, RATE_MAX))]
    pub rate: Option<f64>,

    /// Connections that send. In an open loop this bounds how many events wait for their answers.
    #[arg(long, value_name = "NUMBER", default_value = "64", value_parser = number_between(1, CONNECTIONS_MAX))]
    pub connections: usize,

    /// Duration of each load, unless its count is reached first [default: 20s; backlog: 10m].
    #[arg(long, value_name = "DURATION", value_parser = duration_between(Duration::from_millis(10), DURATION_MAX))]
    pub duration: Option<Duration>,

    /// Events that each load sends at most [default: as many as the duration allows; backlog: 100000].
    #[arg(long, value_name = "NUMBER", value_parser = number_between(1, EVENTS_MAX))]
    pub count: Option<u64>,

    /// Events that may be undelivered at a time. Above it, sending waits for arrivals, so that no backlog
    /// grows. 0 means no limit [default: 0; sustained: 2000].
    #[arg(long, value_name = "NUMBER")]
    pub outstanding: Option<usize>,

    /// Size of a payload in bytes, or several sizes with weights: 500, or 500:9,20000:1.
    #[arg(long, value_name = "BYTES[:WEIGHT],...", default_value = "500")]
    pub payload_bytes: PayloadMix,

    /// Send an idempotency key with each event.
    #[arg(long)]
    pub idempotency_keys: bool,

    /// Number of tenants that send.
    #[arg(long, value_name = "NUMBER", default_value = "1", value_parser = number_between(1, ACCOUNTS_MAX))]
    pub tenants: usize,

    /// Number of destinations of each tenant.
    #[arg(long, value_name = "NUMBER", default_value = "1", value_parser = number_between(1, ACCOUNTS_MAX))]
    pub destinations: usize,

    /// Concurrent requests that each destination takes.
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000)]
    pub destination_limit: u32,

    /// Delay before the receiver answers.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration_between(Duration::ZERO, DURATION_MAX))]
    pub receiver_latency: Duration,

    /// Share of requests that the receiver answers with 500, from 0 to 1. Retries follow the service's
    /// schedule, and five consecutive failures suspend a destination.
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = number_between(0.0, 1.0))]
    pub receiver_failure_rate: f64,

    /// Timeout of the deliveries that are left when the load ends; a backlog gets more.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration_between(Duration::ZERO, DURATION_MAX))]
    pub drain: Duration,

    /// Address and port of the receiver. Port 0 selects a free port.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub sink: SocketAddr,

    /// URL of the receiver as the service sees it, if it differs from the receiver's address.
    #[arg(long, value_name = "URL")]
    pub sink_url: Option<Url>,

    /// PostgreSQL of the service, to report WAL and commits, and statements if pg_stat_statements is
    /// installed. It is read before and after a load, never during it.
    #[arg(long, value_name = "URL", value_parser = database_url)]
    pub database_url: Option<SecretString>,

    /// Process on this machine whose CPU time and memory are reported, with its descendants: NAME=ID or ID.
    /// May be given several times.
    #[arg(long = "pid", value_name = "[NAME=]ID")]
    pub processes: Vec<WatchedProcess>,

    /// Print the report as JSON.
    #[arg(long, conflicts_with = "markdown")]
    pub json: bool,

    /// Print only the summary, as a Markdown table.
    #[arg(long)]
    pub markdown: bool,
}

/// Workload of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    /// A load as the other options describe it.
    Custom,
    /// Open loop at 100, 500, 1,000 and 2,000 events a second: latency and cost of single events.
    Latency,
    /// Closed loop of few and of many connections: events a second from ingest to delivery.
    Sustained,
    /// Closed loop to one destination, and then to a thousand.
    Destinations,
    /// The best rate of a closed loop, then twice and five times as much in an open loop, then 500 events a second.
    Overload,
    /// Closed loop while deliveries are held back: events accepted a second.
    AcceptOnly,
    /// Events are held back and then released: events delivered a second while none is accepted.
    Backlog,
    /// Latency of some tenants while another sends a hundred times as much, and while receivers hang.
    Fairness,
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Custom => "custom",
            Self::Latency => "latency",
            Self::Sustained => "sustained",
            Self::Destinations => "destinations",
            Self::Overload => "overload",
            Self::AcceptOnly => "accept-only",
            Self::Backlog => "backlog",
            Self::Fairness => "fairness",
        })
    }
}

/// Error of options that contradict each other or name another machine.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum OptionProblem {
    #[error("--base must be a URL such as http://127.0.0.1:5143")]
    NotPlainHttp,
    #[error("{0} is not on this machine; use --allow-remote to allow it")]
    Remote(IpAddr),
}

impl BenchOptions {
    /// Checks the options against one another.
    ///
    /// # Errors
    ///
    /// Returns which option is wrong.
    pub fn check(&self) -> Result<(), OptionProblem> {
        if self.base.scheme() != "http" || !self.base.has_host() {
            return Err(OptionProblem::NotPlainHttp);
        }
        self.check_address(self.sink.ip())
    }

    /// Refuses an address that is not on this machine, unless the options allow it. It is called again with
    /// the address of the service once its name is resolved.
    pub(crate) fn check_address(&self, address: IpAddr) -> Result<(), OptionProblem> {
        if self.allow_remote || address.is_loopback() {
            return Ok(());
        }
        Err(OptionProblem::Remote(address))
    }

    /// Duration of a load, for workloads without their own default.
    pub(crate) fn load_duration(&self) -> Duration {
        self.duration.unwrap_or(DURATION_DEFAULT)
    }

    /// Upper bound of the events of a load, for workloads without their own default.
    pub(crate) fn load_count(&self) -> u64 {
        self.count.unwrap_or(EVENTS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct CommandLine {
        #[command(flatten)]
        options: BenchOptions,
    }

    fn parse(line: &str) -> Result<BenchOptions, clap::Error> {
        let words = std::iter::once("bench").chain(line.split_whitespace());
        CommandLine::try_parse_from(words).map(|command_line| command_line.options)
    }

    fn options(line: &str) -> BenchOptions {
        parse(line).unwrap_or_else(|error| panic!("{error}"))
    }

    fn refused(line: &str) -> String {
        options(line).check().expect_err(line).to_string()
    }

    #[test]
    fn the_defaults_are_bounded_and_local() {
        let options = options("");
        options.check().unwrap();
        assert_eq!(options.workloads, [Workload::Custom]);
        assert_eq!((options.load_duration(), options.load_count()), (DURATION_DEFAULT, EVENTS_MAX));
    }

    #[test]
    fn workloads_are_a_list() {
        let options = options("latency,accept-only --duration 2s --count 7");
        assert_eq!(options.workloads, [Workload::Latency, Workload::AcceptOnly]);
        assert_eq!((options.load_duration(), options.load_count()), (Duration::from_secs(2), 7));
    }

    #[test]
    fn values_out_of_bounds_are_refused() {
        for line in [
            "--duration 2h",
            "--duration 1ms",
            "--drain 2h",
            "--count 0",
            "--count 10000001",
            "--rate 0",
            "--rate NaN",
            "--connections 0",
            "--tenants 0",
            "--destinations 1001",
            "--receiver-latency 2h",
            "--receiver-failure-rate 1.1",
            "--payload-bytes 3",
            "--pid postgres",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn other_machines_require_allow_remote() {
        assert_eq!(
            refused("--sink 0.0.0.0:0"),
            "0.0.0.0 is not on this machine; use --allow-remote to allow it"
        );
        options("--sink 0.0.0.0:0 --allow-remote").check().unwrap();
        let local_only = options("");
        local_only.check_address("127.8.8.8".parse().unwrap()).unwrap();
        local_only.check_address("::1".parse().unwrap()).unwrap();
        assert!(local_only.check_address("192.0.2.7".parse().unwrap()).is_err());
    }

    #[test]
    fn only_plain_http_is_accepted() {
        for base in ["https://127.0.0.1:5143", "unix:/run/x"] {
            assert!(refused(&format!("--base {base}")).starts_with("--base must be"), "{base}");
        }
    }
}
