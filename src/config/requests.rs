//! Limits of concurrent requests.

use super::values::{bytes_between, number_between};

/// Limits of concurrent requests of this process. One client address or tenant may have as many as are free, so
/// alone it gets half of them.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Concurrent requests")]
pub struct RequestSettings {
    /// Maximum number of concurrent requests to ingest webhooks.
    ///
    /// Further ones are refused with status 503, and those of a tenant that has as many as are free with 429. Lower:
    /// sources are refused while the database is slow. Higher: requests that wait use more memory.
    #[arg(
        long,
        env = "HOOKSENTRY_INGEST_REQUESTS",
        value_name = "NUMBER",
        default_value = "4096",
        value_parser = number_between::<usize>(1, 1_000_000)
    )]
    pub ingest_requests: usize,

    /// Maximum number of concurrent requests of users.
    ///
    /// Further ones are refused with status 503, and those of a tenant that has as many as are free with 429. Lower:
    /// users are refused while the database is slow. Higher: requests that wait use more memory.
    #[arg(
        long,
        env = "HOOKSENTRY_MANAGEMENT_REQUESTS",
        value_name = "NUMBER",
        default_value = "1024",
        value_parser = number_between::<usize>(1, 1_000_000)
    )]
    pub management_requests: usize,

    /// Maximum number of concurrent requests without credentials, such as logins and registrations.
    ///
    /// Further ones are refused with status 503, and those of a client address that has as many as are free with 429.
    /// Lower: users cannot log in while many do. Higher: strangers cost more memory.
    #[arg(
        long,
        env = "HOOKSENTRY_ANONYMOUS_REQUESTS",
        value_name = "NUMBER",
        default_value = "256",
        value_parser = number_between::<usize>(1, 1_000_000)
    )]
    pub anonymous_requests: usize,

    /// Maximum number of concurrent requests for pages of the dashboard.
    ///
    /// The requests to the API that a page makes count for their own limits as well. Further ones are refused with
    /// status 503, and those of a client address that has as many as are free with 429. Lower: pages are refused while
    /// the database is slow. Higher: pages that wait use more memory.
    #[arg(
        long,
        env = "HOOKSENTRY_DASHBOARD_REQUESTS",
        value_name = "NUMBER",
        default_value = "256",
        value_parser = number_between::<usize>(1, 1_000_000)
    )]
    pub dashboard_requests: usize,

    /// Maximum size of all bodies of requests and answers in memory, in bytes.
    ///
    /// Payloads that ingest receives have a limit of their own. Beyond it, requests are refused with status 503, and
    /// those of a tenant or client address that has as many bytes as are free with 429. It must be at least twelve
    /// times `HOOKSENTRY_MAX_PAYLOAD_BYTES`. Lower: pages of events with large payloads are refused. Higher: clients
    /// that read slowly cost more memory.
    #[arg(
        long,
        env = "HOOKSENTRY_BODY_BYTES",
        value_name = "BYTES",
        default_value = "256MiB",
        value_parser = bytes_between(16 << 20, 1 << 40)
    )]
    pub body_bytes: usize,
}
