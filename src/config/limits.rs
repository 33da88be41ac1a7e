//! How often strangers may try things.

use std::num::NonZeroU32;
use std::time::Duration;

use super::values::{duration_between, number_between};

const HOUR: Duration = Duration::from_secs(3_600);

/// Limits on what needs no login. Their windows are fixed: one begins with the first thing it counts.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitSettings {
    /// Tenants that may be created from one address within an hour; 0 means any number.
    ///
    /// Too low and colleagues behind one router lock each other out; too high and one visitor fills the
    /// database.
    #[arg(
        long,
        env = "HOOKSENTRY_TENANT_CREATIONS_PER_HOUR",
        value_name = "NUMBER",
        default_value = "5",
        value_parser = number_between::<u32>(0, u32::MAX)
    )]
    pub tenant_creations_per_hour: u32,

    /// Failed logins from one address, or with one email, that are allowed within the login window; 0
    /// means any number.
    ///
    /// Too low and a forgotten password locks its owner out; too high and passwords can be guessed.
    #[arg(
        long,
        env = "HOOKSENTRY_LOGIN_FAILURES",
        value_name = "NUMBER",
        default_value = "10",
        value_parser = number_between::<u32>(0, u32::MAX)
    )]
    pub login_failures: u32,

    /// The time within which failed logins count together.
    ///
    /// Too short and the limit means little; too long and whoever is locked out waits as long.
    #[arg(
        long,
        env = "HOOKSENTRY_LOGIN_WINDOW",
        value_name = "DURATION",
        default_value = "5m",
        value_parser = duration_between(Duration::from_secs(1), 24 * HOUR)
    )]
    pub login_window: Duration,

    /// Registrations with an invite from one address within an hour; 0 means any number.
    ///
    /// Too low and a team that joins together is held up; too high and invite tokens can be tried.
    #[arg(
        long,
        env = "HOOKSENTRY_INVITE_REGISTRATIONS_PER_HOUR",
        value_name = "NUMBER",
        default_value = "10",
        value_parser = number_between::<u32>(0, u32::MAX)
    )]
    pub invite_registrations_per_hour: u32,
}

/// So many within such a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// How many are allowed.
    pub most: NonZeroU32,
    /// Within which time.
    pub window: Duration,
}

impl RateLimit {
    fn new(most: u32, window: Duration) -> Option<Self> {
        NonZeroU32::new(most).map(|most| Self { most, window })
    }
}

impl LimitSettings {
    /// The limit of tenants created, if there is one.
    #[must_use]
    pub fn tenant_creations(&self) -> Option<RateLimit> {
        RateLimit::new(self.tenant_creations_per_hour, HOUR)
    }

    /// The limit of failed logins, if there is one.
    #[must_use]
    pub fn failed_logins(&self) -> Option<RateLimit> {
        RateLimit::new(self.login_failures, self.login_window)
    }

    /// The limit of registrations with an invite, if there is one.
    #[must_use]
    pub fn invite_registrations(&self) -> Option<RateLimit> {
        RateLimit::new(self.invite_registrations_per_hour, HOUR)
    }
}
