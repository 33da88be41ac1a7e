//! What the command line says, and what it may not say.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;
use url::Url;

use super::meters::WatchedProcess;
use super::payload::PayloadMix;
use crate::config::{DatabaseUrl, duration_between, number_between};

/// The longest a load may last, and a drain after it. What is remembered of a run grows with both.
const DURATION_MAX: Duration = Duration::from_secs(3_600);
/// How long a load lasts unless it is said.
const DURATION_DEFAULT: Duration = Duration::from_secs(20);
/// Events of one load, at most. Each takes about a hundred bytes of memory.
const EVENTS_MAX: u64 = 10_000_000;
/// Connections of one load, at most.
const CONNECTIONS_MAX: usize = 10_000;
/// Tenants, and destinations of each.
const ACCOUNTS_MAX: usize = 1_000;
/// Events a second, at most; beyond it one machine's clock and sockets are what is measured.
const RATE_MAX: f64 = 1_000_000.0;

/// Puts load on a running HookSentry, receives what it delivers, and reports how it did.
///
/// It makes tenants, destinations and keys of its own through the API, and stops by itself. The HookSentry
/// must allow it more tenants than usual (HOOKSENTRY_TENANT_CREATIONS_PER_HOUR=0) and plain HTTP
/// receivers on this machine (HOOKSENTRY_ALLOW_INSECURE_DESTINATIONS=true). Exits with 1 when an
/// accepted event did not arrive.
#[derive(Clone, Debug, clap::Args)]
pub struct BenchOptions {
    /// What is run, one after the other: load as the options below describe it, or something prepared.
    #[arg(value_name = "WORKLOAD", value_enum, value_delimiter = ',', default_value = "custom")]
    pub workloads: Vec<Workload>,

    /// The HookSentry to be measured. Plain HTTP: measure it without what terminates TLS in front of it.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:5143")]
    pub base: Url,

    /// Also measure a HookSentry that is not on this machine, or receive for one that is not.
    #[arg(long)]
    pub allow_remote: bool,

    /// Open loop: so many events a second are sent, whether or not the answers keep up, and latency counts
    /// from when each should have been sent. Without it, each connection sends when it has its answer.
    #[arg(long, value_name = "PER_SECOND", value_parser = number_between(0.01, RATE_MAX))]
    pub rate: Option<f64>,

    /// Connections that send; in an open loop the most that may be waiting for answers.
    #[arg(long, value_name = "NUMBER", default_value = "64", value_parser = number_between(1, CONNECTIONS_MAX))]
    pub connections: usize,

    /// How long load is put on, if the count is not reached before [default: 20s; backlog: 10m].
    #[arg(long, value_name = "DURATION", value_parser = duration_between(Duration::from_millis(10), DURATION_MAX))]
    pub duration: Option<Duration>,

    /// How many events each load sends at most [default: as many as there is time for; backlog: 100000].
    #[arg(long, value_name = "NUMBER", value_parser = number_between(1, EVENTS_MAX))]
    pub count: Option<u64>,

    /// How many events may be on their way at once; beyond it sending waits for arrivals, so that no
    /// backlog grows. 0 means any number [default: 0; sustained: 2000].
    #[arg(long, value_name = "NUMBER")]
    pub outstanding: Option<usize>,

    /// Bytes of a payload, or a mix of sizes with their weights: 500, or 500:9,20000:1.
    #[arg(long, value_name = "BYTES[:WEIGHT],...", default_value = "500")]
    pub payload_bytes: PayloadMix,

    /// Whether each event carries an idempotency key.
    #[arg(long)]
    pub idempotency_keys: bool,

    /// Tenants that send.
    #[arg(long, value_name = "NUMBER", default_value = "1", value_parser = number_between(1, ACCOUNTS_MAX))]
    pub tenants: usize,

    /// Destinations of each tenant.
    #[arg(long, value_name = "NUMBER", default_value = "1", value_parser = number_between(1, ACCOUNTS_MAX))]
    pub destinations: usize,

    /// Requests at once that each destination takes.
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000)]
    pub destination_limit: u32,

    /// How long the receiver thinks before it answers.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration_between(Duration::ZERO, DURATION_MAX))]
    pub receiver_latency: Duration,

    /// The share of requests that the receiver answers with 500, from 0 to 1. Their retries come as late
    /// as HookSentry's schedule says, and five failures in a row suspend a destination.
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = number_between(0.0, 1.0))]
    pub receiver_failure_rate: f64,

    /// How long to wait, once the load is over, for what is not delivered; a backlog gets more.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration_between(Duration::ZERO, DURATION_MAX))]
    pub drain: Duration,

    /// Where the receiver listens; port 0 picks a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub sink: SocketAddr,

    /// The receiver's URL as the HookSentry sees it, if that is another than where it listens.
    #[arg(long, value_name = "URL")]
    pub sink_url: Option<Url>,

    /// The PostgreSQL of the HookSentry, to read what it writes: WAL, commits, and statements if
    /// pg_stat_statements is installed. Looked at before and after, never during a load.
    #[arg(long, value_name = "URL")]
    pub database_url: Option<DatabaseUrl>,

    /// Processes on this machine whose CPU time and memory are read, children included: NAME=ID or ID.
    /// May be given several times.
    #[arg(long = "pid", value_name = "[NAME=]ID")]
    pub processes: Vec<WatchedProcess>,

    /// Print the report as JSON.
    #[arg(long, conflicts_with = "markdown")]
    pub json: bool,

    /// Print nothing but the summary, as a Markdown table.
    #[arg(long)]
    pub markdown: bool,
}

/// What can be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    /// Load as the other options describe it.
    Custom,
    /// Open loop at 100 and at 500 events a second: what a single event feels.
    Latency,
    /// Closed loop: how many events a second go the whole way.
    Sustained,
    /// Closed loop while deliveries are held back: how many events a second are accepted.
    AcceptOnly,
    /// Events are held back, then let go: how fast they are delivered while nothing is accepted.
    Backlog,
    /// What a tenant feels when another one sends a hundred times as much, and when receivers hang.
    Fairness,
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Custom => "custom",
            Self::Latency => "latency",
            Self::Sustained => "sustained",
            Self::AcceptOnly => "accept-only",
            Self::Backlog => "backlog",
            Self::Fairness => "fairness",
        })
    }
}

/// Why the options make no sense.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum OptionProblem {
    /// The base is not a URL that can be driven.
    #[error("--base must be a URL such as http://127.0.0.1:5143")]
    NotPlainHttp,
    /// Somebody else's machine.
    #[error("{0} is not on this machine; with --allow-remote it is used all the same")]
    Remote(IpAddr),
}

impl BenchOptions {
    /// Checks what a single value does not show.
    pub fn check(&self) -> Result<(), OptionProblem> {
        if self.base.scheme() != "http" || !self.base.has_host() {
            return Err(OptionProblem::NotPlainHttp);
        }
        self.check_address(self.sink.ip())
    }

    /// Refuses what is not on this machine, unless it is allowed. What a name leads to is known only once
    /// it is looked up.
    pub(super) fn check_address(&self, address: IpAddr) -> Result<(), OptionProblem> {
        if self.allow_remote || address.is_loopback() {
            return Ok(());
        }
        Err(OptionProblem::Remote(address))
    }

    /// How long loads last, where a workload has no other habit.
    pub(super) fn load_lasts(&self) -> Duration {
        self.duration.unwrap_or(DURATION_DEFAULT)
    }

    /// How many events a load sends at most, where a workload has no other habit.
    pub(super) fn load_counts(&self) -> u64 {
        self.count.unwrap_or(EVENTS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: BenchOptions,
    }

    fn parse(line: &str) -> Result<BenchOptions, clap::Error> {
        let words = std::iter::once("bench").chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.options)
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
        assert_eq!((options.load_lasts(), options.load_counts()), (DURATION_DEFAULT, EVENTS_MAX));
    }

    #[test]
    fn workloads_are_a_list() {
        let options = options("latency,accept-only --duration 2s --count 7");
        assert_eq!(options.workloads, [Workload::Latency, Workload::AcceptOnly]);
        assert_eq!((options.load_lasts(), options.load_counts()), (Duration::from_secs(2), 7));
    }

    #[test]
    fn nothing_runs_without_end_or_with_nonsense() {
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
    fn other_machines_are_left_alone_unless_they_are_allowed() {
        assert_eq!(
            refused("--sink 0.0.0.0:0"),
            "0.0.0.0 is not on this machine; with --allow-remote it is used all the same"
        );
        options("--sink 0.0.0.0:0 --allow-remote").check().unwrap();
        let ours = options("");
        ours.check_address("127.8.8.8".parse().unwrap()).unwrap();
        ours.check_address("::1".parse().unwrap()).unwrap();
        assert!(ours.check_address("192.0.2.7".parse().unwrap()).is_err());
    }

    #[test]
    fn only_plain_http_is_driven() {
        for base in ["https://127.0.0.1:5143", "unix:/run/x"] {
            assert!(refused(&format!("--base {base}")).starts_with("--base must be"), "{base}");
        }
    }
}
