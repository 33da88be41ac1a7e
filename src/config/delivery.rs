//! How webhook events are delivered.

use std::num::NonZeroU16;
use std::time::Duration;

use aggregates::destination_url::Insecure;

use super::values::{ValueProblem, bytes_between, duration_between, number_between, truth, weights};
use crate::fair_share::Weights;
use crate::worker::outbound_client::OutboundProxy;

/// How an attempt is made, and how many at once.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Delivery")]
pub struct DeliverySettings {
    /// The most one attempt may take, from its first step to the end of the answer.
    ///
    /// Too short and slow receivers get everything several times; too long and dead ones keep workers
    /// waiting.
    #[arg(
        id = "delivery-timeout",
        long,
        env = "HOOKSENTRY_DELIVERY_TIMEOUT",
        value_name = "DURATION",
        default_value = "30s",
        value_parser = duration_between(Duration::from_millis(10), Duration::from_secs(600))
    )]
    pub timeout: Duration,

    /// Failed attempts in a row after which a destination is suspended.
    ///
    /// Too low and a hiccup suspends it; too high and a dead destination is called for nothing.
    #[arg(
        long,
        env = "HOOKSENTRY_BREAKER_THRESHOLD",
        value_name = "NUMBER",
        default_value = "5",
        value_parser = number_between::<u32>(1, 1_000_000)
    )]
    pub breaker_threshold: u32,

    /// Attempts that a worker process makes at once.
    ///
    /// Too low and destinations that hang hold up all others: each may have its limit of attempts under way
    /// for a whole timeout. Each attempt needs a file descriptor, and some kilobytes besides its payload, so
    /// too high and a burst runs out of those.
    #[arg(
        long,
        env = "HOOKSENTRY_WORKER_CONCURRENCY",
        value_name = "NUMBER",
        default_value = "4096",
        value_parser = number_between::<NonZeroU16>(NonZeroU16::MIN, NonZeroU16::MAX)
    )]
    pub worker_concurrency: NonZeroU16,

    /// Bytes of payloads that a worker process has in memory at once, at most.
    ///
    /// No new attempts are begun while those under way are larger together. Too low and large payloads to
    /// slow destinations hold up all others; too high and they fill the memory.
    #[arg(
        long,
        env = "HOOKSENTRY_WORKER_PAYLOAD_BYTES",
        value_name = "BYTES",
        default_value = "256MiB",
        value_parser = bytes_between(1 << 20, 1 << 40)
    )]
    pub worker_payload_bytes: usize,

    /// Whether destinations may have http URLs and private addresses.
    ///
    /// For development only: with it, everybody who may create a destination can reach the machines of
    /// this network.
    #[arg(
        long,
        env = "HOOKSENTRY_ALLOW_INSECURE_DESTINATIONS",
        value_name = "true|false",
        default_value = "false",
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = clap::ArgAction::Set,
        value_parser = truth
    )]
    pub allow_insecure_destinations: bool,

    /// The HTTP proxy through which destinations are reached.
    ///
    /// A URL such as `http://user:password@proxy.internal:3128`. The proxy then decides which addresses may
    /// be reached. HTTP_PROXY and its kin are not read.
    #[arg(
        long,
        env = "HOOKSENTRY_OUTBOUND_PROXY",
        value_name = "URL",
        hide_env_values = true,
        value_parser = proxy
    )]
    pub outbound_proxy: Option<OutboundProxy>,

    /// How much longer than the delivery timeout the dispatcher waits for an outcome before it takes the
    /// worker for lost.
    ///
    /// Too short and an outcome that is recorded slowly comes too late, so a delivered event is delivered
    /// again; too long and what a dead worker had in hand waits as long.
    #[arg(
        long,
        env = "HOOKSENTRY_VANISHED_MARGIN",
        value_name = "DURATION",
        default_value = "30s",
        value_parser = duration_between(Duration::from_millis(100), Duration::from_secs(3_600))
    )]
    pub vanished_margin: Duration,

    /// After how long a job that was released and did not start is published again.
    ///
    /// Too short and a queue that is merely long is made longer by copies; too long and what a broker lost
    /// waits as long.
    #[arg(
        long,
        env = "HOOKSENTRY_REPUBLISH_AFTER",
        value_name = "DURATION",
        default_value = "60s",
        value_parser = duration_between(Duration::from_secs(1), Duration::from_secs(86_400))
    )]
    pub republish_after: Duration,

    /// Tenants that get more of a round than the others, as `TENANT=WEIGHT,...`.
    ///
    /// Where more is to be accepted or delivered than can be at once, tenants take turns. One with weight 3
    /// gets three places where the others get one. Tenants that are not named have weight 1.
    #[arg(
        long,
        env = "HOOKSENTRY_TENANT_WEIGHTS",
        value_name = "TENANT=WEIGHT,...",
        default_value = "",
        hide_default_value = true,
        value_parser = weights
    )]
    pub tenant_weights: Weights,
}

impl DeliverySettings {
    /// Whether http and private addresses are allowed.
    #[must_use]
    pub fn insecure(&self) -> Insecure {
        if self.allow_insecure_destinations { Insecure::Allowed } else { Insecure::Forbidden }
    }
}

fn proxy(text: &str) -> Result<OutboundProxy, ValueProblem> {
    OutboundProxy::parse(text).map_err(|problem| ValueProblem(problem.to_string()))
}
