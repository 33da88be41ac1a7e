//! Settings of retention.

use std::time::Duration;

use aggregates::tenant::{RETENTION_DAYS_MAX, Retention};

use super::values::{duration_between, number_between};

/// Retention of new tenants, and interval between retention passes.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Retention")]
pub struct RetentionSettings {
    /// Days from acceptance after which payloads of ended events are erased, for new tenants; 0 means never.
    ///
    /// The value is stored with the tenant, which may change it; existing tenants keep theirs. Lower: events
    /// that failed over a weekend cannot be replayed. Higher: personal data are stored for longer than
    /// necessary.
    #[arg(
        long = "retention-payload-days",
        env = "HOOKSENTRY_RETENTION_PAYLOAD_DAYS",
        value_name = "NUMBER",
        default_value = "0",
        value_parser = number_between::<u32>(0, RETENTION_DAYS_MAX)
    )]
    pub payload_days: u32,

    /// Days from acceptance after which ended events are removed from the lists, for new tenants; 0 means
    /// never.
    ///
    /// The log keeps their facts. Lower: support cannot find older events in the lists. Higher: tables grow.
    #[arg(
        long = "retention-event-days",
        env = "HOOKSENTRY_RETENTION_EVENT_DAYS",
        value_name = "NUMBER",
        default_value = "0",
        value_parser = number_between::<u32>(0, RETENTION_DAYS_MAX)
    )]
    pub event_days: u32,

    /// Interval between retention passes.
    ///
    /// Lower: the projector runs more passes that find nothing. Higher: payloads and events are removed later
    /// than their retention says.
    #[arg(
        long = "retention-every",
        env = "HOOKSENTRY_RETENTION_EVERY",
        value_name = "DURATION",
        default_value = "10m",
        value_parser = duration_between(Duration::from_millis(100), Duration::from_secs(24 * 3_600))
    )]
    pub every: Duration,
}

impl RetentionSettings {
    /// Returns the retention of new tenants.
    #[must_use]
    pub fn of_new_tenants(&self) -> Retention {
        let days = |days: u32| (days > 0).then_some(days);
        Retention { payload_days: days(self.payload_days), event_days: days(self.event_days) }
    }
}
