//! Settings of delivery attempts.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use super::outbound_proxy::OutboundProxy;
use super::values::{bytes_between, duration_between, number_between};
use super::weights::TenantWeights;

/// Time for which the dispatcher gives up no attempt after its term has begun or it could not read the log.
/// Workers could not record outcomes either, and do so then. Lower: an outage of the database has events
/// delivered twice. Higher: the events of a worker that crashed during it wait for longer.
pub(crate) const GIVE_UP_GRACE: Duration = Duration::from_secs(10);

/// Time for which a worker tries to record an outcome. Lower: a longer outage of the database has events
/// delivered twice. Higher: an outcome that can never be recorded occupies a permit for longer.
const RECORD_TIMEOUT: Duration = Duration::from_secs(600);

/// Time, number and order of delivery attempts.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Delivery")]
pub struct DeliverySettings {
    /// Timeout of one delivery attempt, from name resolution to the end of the response.
    ///
    /// Lower: slow receivers get the same event several times. Higher: attempts to receivers that hang occupy
    /// the workers for longer.
    #[arg(
        id = "delivery-timeout",
        long,
        env = "HOOKSENTRY_DELIVERY_TIMEOUT",
        value_name = "DURATION",
        default_value = "30s",
        value_parser = duration_between(Duration::from_millis(10), Duration::from_secs(600))
    )]
    pub timeout: Duration,

    /// Number of consecutive failed attempts after which a destination is suspended.
    ///
    /// Lower: a short outage suspends a destination. Higher: more requests are sent in vain to a receiver
    /// that is down.
    #[arg(
        long,
        env = "HOOKSENTRY_BREAKER_THRESHOLD",
        value_name = "NUMBER",
        default_value = "5",
        value_parser = number_between::<u32>(1, 1_000_000)
    )]
    pub breaker_threshold: u32,

    /// Shortest time for which a destination is suspended, even if its tenant sets a shorter timer.
    ///
    /// Whole seconds count. Lower: many destinations that stay dead and have short timers make the log longer
    /// and keep the dispatcher busy. Higher: destinations with short timers recover later.
    #[arg(
        long,
        env = "HOOKSENTRY_BREAKER_PAUSE_MIN",
        value_name = "DURATION",
        default_value = "10s",
        value_parser = duration_between(Duration::from_secs(1), Duration::from_secs(3_600))
    )]
    pub breaker_pause_min: Duration,

    /// Maximum number of concurrent attempts to one destination, even if its `serverRateLimit` is higher.
    ///
    /// The API shows the limit in effect as `effectiveServerRateLimit`. Lower: fast receivers get a burst more
    /// slowly. Higher: one destination that hangs occupies more attempts of the workers.
    #[arg(
        long,
        env = "HOOKSENTRY_DESTINATION_CONCURRENCY_MAX",
        value_name = "NUMBER",
        default_value = "1000",
        value_parser = number_between::<NonZeroU32>(NonZeroU32::MIN, NonZeroU32::MAX)
    )]
    pub destination_concurrency_max: NonZeroU32,

    /// Maximum number of concurrent attempts of a worker process.
    ///
    /// Lower: destinations that hang delay all others, because each may occupy its own limit of attempts for
    /// a whole timeout. Higher: a burst needs more file descriptors (two for each attempt) and memory (some
    /// kilobytes for each attempt, and its payload).
    #[arg(
        long,
        env = "HOOKSENTRY_WORKER_CONCURRENCY",
        value_name = "NUMBER",
        default_value = "4096",
        value_parser = number_between::<NonZeroU16>(NonZeroU16::MIN, NonZeroU16::MAX)
    )]
    pub worker_concurrency: NonZeroU16,

    /// Maximum total size of the payloads that a worker process has in memory, in bytes.
    ///
    /// A worker process starts no attempt while the payloads of its attempts in progress are larger. Lower:
    /// large payloads to slow destinations delay all others. Higher: they use more memory.
    #[arg(
        long,
        env = "HOOKSENTRY_WORKER_PAYLOAD_BYTES",
        value_name = "BYTES",
        default_value = "256MiB",
        value_parser = bytes_between(1 << 20, 1 << 40)
    )]
    pub worker_payload_bytes: usize,

    /// Maximum number of installations of HookSentry that a webhook may have passed through.
    ///
    /// Each adds itself to the header `CDN-Loop`. Beyond the maximum, ingest answers 508: the webhook goes round in
    /// circles. Lower: chains of installations break. Higher: a loop makes more events of each.
    #[arg(
        long,
        env = "HOOKSENTRY_HOPS_MAX",
        value_name = "NUMBER",
        default_value = "3",
        value_parser = number_between::<u16>(0, 100)
    )]
    pub hops_max: u16,

    /// HTTP proxy for requests to destinations.
    ///
    /// A URL such as `http://user:password@proxy.internal:3128`. The proxy decides which addresses may be
    /// reached. HTTP_PROXY and similar variables are ignored.
    #[arg(long, env = "HOOKSENTRY_OUTBOUND_PROXY", value_name = "URL", hide_env_values = true)]
    pub outbound_proxy: Option<OutboundProxy>,

    /// Time limit of one lookup of a destination's name.
    ///
    /// A lookup also waits for so long to begin. Lower: names whose name servers are slow fail. Higher: name servers that
    /// never answer occupy lookups for longer.
    #[arg(
        long,
        env = "HOOKSENTRY_LOOKUP_TIMEOUT",
        value_name = "DURATION",
        default_value = "3s",
        value_parser = duration_between(Duration::from_millis(100), Duration::from_secs(60))
    )]
    pub lookup_timeout: Duration,

    /// Maximum number of concurrent name lookups of one tenant in a worker process.
    ///
    /// An attempt that cannot begin its lookup in time is made later and not counted. Lower: a burst to many names of one
    /// tenant takes longer. Higher: name servers of one tenant that never answer occupy more of all lookups.
    #[arg(
        long,
        env = "HOOKSENTRY_LOOKUPS_OF_TENANT_MAX",
        value_name = "NUMBER",
        default_value = "16",
        value_parser = number_between::<NonZeroU16>(NonZeroU16::MIN, NonZeroU16::MAX)
    )]
    pub lookups_of_tenant_max: NonZeroU16,

    /// Maximum number of concurrent name lookups of a worker process.
    ///
    /// Lower: fewer tenants with name servers that never answer delay all others. Higher: more file descriptors are
    /// needed, up to four for each lookup.
    #[arg(
        long,
        env = "HOOKSENTRY_LOOKUPS_MAX",
        value_name = "NUMBER",
        default_value = "256",
        value_parser = number_between::<NonZeroU16>(NonZeroU16::MIN, NonZeroU16::MAX)
    )]
    pub lookups_max: NonZeroU16,

    /// Time after the delivery timeout for which the dispatcher waits for the outcome of an attempt.
    ///
    /// After that time it considers the worker lost and has the event retried. A worker that was held up for
    /// half of that time after it claimed an attempt does not send the request. Lower: an outcome that is
    /// recorded slowly comes too late, and a delivered event is delivered again. Higher: the events of a
    /// worker that crashed wait for longer.
    #[arg(
        long,
        env = "HOOKSENTRY_VANISHED_MARGIN",
        value_name = "DURATION",
        default_value = "30s",
        value_parser = duration_between(Duration::from_millis(100), Duration::from_secs(3_600))
    )]
    pub vanished_margin: Duration,

    /// Time after which a job that no worker has started is published again.
    ///
    /// The time doubles with every copy, up to 16 times. Lower: copies make a queue that is merely long even
    /// longer. Higher: jobs wait for longer that a worker received and does not process, because its machine hangs.
    #[arg(
        long,
        env = "HOOKSENTRY_REPUBLISH_AFTER",
        value_name = "DURATION",
        default_value = "10s",
        value_parser = duration_between(Duration::from_secs(1), Duration::from_secs(86_400))
    )]
    pub republish_after: Duration,

    /// Weights of tenants in the weighted round robin, as TENANT=WEIGHT,...
    ///
    /// When more events are to be accepted or delivered than capacity allows, tenants take turns: a tenant
    /// with weight 3 gets three turns where one with weight 1 gets one, and three times its attempts of a
    /// worker. Weights are 1 to 1000; tenants that are not listed have weight 1.
    #[arg(
        long,
        env = "HOOKSENTRY_TENANT_WEIGHTS",
        value_name = "TENANT=WEIGHT,...",
        default_value = "",
        hide_default_value = true
    )]
    pub tenant_weights: TenantWeights,
}

impl DeliverySettings {
    /// Time for which a worker tries to record an outcome. It is longer than the dispatcher waits for it when the
    /// database is available again.
    #[must_use]
    pub fn record_timeout(&self) -> Duration {
        RECORD_TIMEOUT.max(self.vanished_margin + GIVE_UP_GRACE)
    }
}
