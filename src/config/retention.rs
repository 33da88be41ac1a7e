//! How long what was delivered is kept.

use std::time::Duration;

use aggregates::tenant::{RETENTION_DAYS_MAX, Retention};

use super::values::{duration_between, number_between};

/// What a tenant begins with, and how often it is looked what is over.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Retention")]
pub struct RetentionSettings {
    /// Days after which payloads of events that have ended are erased, for tenants that register from now
    /// on; 0 means never.
    ///
    /// It is written down with the tenant, which may change it: tenants that exist are not touched. Too
    /// low and nobody can replay what failed over a weekend; too high and personal data is kept without
    /// need.
    #[arg(
        long = "retention-payload-days",
        env = "HOOKSENTRY_RETENTION_PAYLOAD_DAYS",
        value_name = "NUMBER",
        default_value = "0",
        value_parser = number_between::<u32>(0, RETENTION_DAYS_MAX)
    )]
    pub payload_days: u32,

    /// Days after which events that have ended leave the lists, for tenants that register from now on; 0
    /// means never.
    ///
    /// The log keeps their facts. Too low and support looks for what is gone; too high and tables grow.
    #[arg(
        long = "retention-event-days",
        env = "HOOKSENTRY_RETENTION_EVENT_DAYS",
        value_name = "NUMBER",
        default_value = "0",
        value_parser = number_between::<u32>(0, RETENTION_DAYS_MAX)
    )]
    pub event_days: u32,

    /// How often it is looked what is over.
    ///
    /// Too short and the projector looks for nothing again and again; too long and things stay longer than
    /// was said.
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
    /// What a tenant begins with.
    #[must_use]
    pub fn of_new_tenants(&self) -> Retention {
        let days = |days: u32| (days > 0).then_some(days);
        Retention { payload_days: days(self.payload_days), event_days: days(self.event_days) }
    }
}
