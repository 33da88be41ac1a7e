//! Rate limits, and the lifetime of sessions.

use std::num::NonZeroU32;
use std::time::Duration;

use super::values::{duration_between, number_between};

const HOUR: Duration = Duration::from_secs(3_600);

/// Rate limits, and the lifetime of sessions. The windows are fixed: a window starts with the first request that it
/// counts.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitSettings {
    /// Maximum number of tenants created from one IP address within an hour; 0 means no limit.
    ///
    /// Lower: users behind the same router block each other. Higher: one client can fill the database. The
    /// default of `dev` is 0.
    #[arg(
        long,
        env = "HOOKSENTRY_TENANT_CREATIONS_PER_HOUR",
        value_name = "NUMBER",
        default_value = "5",
        value_parser = number_between::<u32>(0, u32::MAX)
    )]
    pub tenant_creations_per_hour: u32,

    /// Maximum number of failed logins from one IP address, or with one email, within the login window; 0
    /// means no limit.
    ///
    /// Lower: a user who forgot a password is locked out sooner. Higher: more passwords can be guessed.
    #[arg(
        long,
        env = "HOOKSENTRY_LOGIN_FAILURES",
        value_name = "NUMBER",
        default_value = "10",
        value_parser = number_between::<u32>(0, u32::MAX)
    )]
    pub login_failures: u32,

    /// Length of the window in which failed logins are counted.
    ///
    /// Lower: more passwords can be guessed. Higher: a user who is locked out waits for longer.
    #[arg(
        long,
        env = "HOOKSENTRY_LOGIN_WINDOW",
        value_name = "DURATION",
        default_value = "5m",
        value_parser = duration_between(Duration::from_secs(1), 24 * HOUR)
    )]
    pub login_window: Duration,

    /// Maximum number of registrations with an invite from one IP address within an hour; 0 means no limit.
    ///
    /// Lower: a team that registers together has to wait. Higher: more invite tokens can be guessed.
    #[arg(
        long,
        env = "HOOKSENTRY_INVITE_REGISTRATIONS_PER_HOUR",
        value_name = "NUMBER",
        default_value = "10",
        value_parser = number_between::<u32>(0, u32::MAX)
    )]
    pub invite_registrations_per_hour: u32,

    /// Maximum number of changes of one user's password, enrolments of a second factor and new recovery codes, within an
    /// hour; 0 means no limit.
    ///
    /// Lower: a user who mistypes a new password has to wait. Higher: one user can keep the hashing of passwords
    /// busy.
    #[arg(
        long,
        env = "HOOKSENTRY_PASSWORD_CHANGES_PER_HOUR",
        value_name = "NUMBER",
        default_value = "5",
        value_parser = number_between::<u32>(0, u32::MAX)
    )]
    pub password_changes_per_hour: u32,

    /// Maximum number of refreshes of one session within an hour; 0 means no limit.
    ///
    /// An access token is valid for fifteen minutes. Lower: a client that refreshes more often than it must is
    /// refused. Higher: one client can make the log grow faster.
    #[arg(
        long,
        env = "HOOKSENTRY_SESSION_REFRESHES_PER_HOUR",
        value_name = "NUMBER",
        default_value = "60",
        value_parser = number_between::<u32>(0, u32::MAX)
    )]
    pub session_refreshes_per_hour: u32,

    /// Time from a login after which its session ends, however often it was refreshed.
    ///
    /// Lower: users log in more often. Higher: a stolen refresh token is useful for longer.
    #[arg(
        long,
        env = "HOOKSENTRY_SESSION_LIFETIME",
        value_name = "DURATION",
        default_value = "30d",
        value_parser = duration_between(HOUR, 3_650 * 24 * HOUR)
    )]
    pub session_lifetime: Duration,

    /// Maximum number of refusals that are answered at once within 10 s: those of one IP address with status 401 or 429, and
    /// those of all clients with 503. 0 means all.
    ///
    /// Further ones are answered half a second late, but for ingest. Lower: users behind one address wait when their
    /// access tokens have expired. Higher: a client that repeats at once takes more of the processor.
    #[arg(
        long,
        env = "HOOKSENTRY_PROMPT_REFUSALS",
        value_name = "NUMBER",
        default_value = "20",
        value_parser = number_between::<u32>(0, u32::MAX)
    )]
    pub prompt_refusals: u32,
}

/// Maximum number of requests within a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    pub most: NonZeroU32,
    pub window: Duration,
}

impl RateLimit {
    fn new(most: u32, window: Duration) -> Option<Self> {
        NonZeroU32::new(most).map(|most| Self { most, window })
    }
}

impl LimitSettings {
    /// Limit on the creation of tenants; `None`: no limit.
    #[must_use]
    pub fn tenant_creations(&self) -> Option<RateLimit> {
        RateLimit::new(self.tenant_creations_per_hour, HOUR)
    }

    /// Limit on failed logins; `None`: no limit.
    #[must_use]
    pub fn failed_logins(&self) -> Option<RateLimit> {
        RateLimit::new(self.login_failures, self.login_window)
    }

    /// Limit on registrations with an invite; `None`: no limit.
    #[must_use]
    pub fn invite_registrations(&self) -> Option<RateLimit> {
        RateLimit::new(self.invite_registrations_per_hour, HOUR)
    }

    /// Limit on changes of a user's password and second factor; `None`: no limit.
    #[must_use]
    pub fn password_changes(&self) -> Option<RateLimit> {
        RateLimit::new(self.password_changes_per_hour, HOUR)
    }

    /// Limit on refreshes of a session; `None`: no limit.
    #[must_use]
    pub fn session_refreshes(&self) -> Option<RateLimit> {
        RateLimit::new(self.session_refreshes_per_hour, HOUR)
    }

    /// Refusals of a client that are answered at once; `None`: all.
    #[must_use]
    pub fn prompt_refusals(&self) -> Option<RateLimit> {
        RateLimit::new(self.prompt_refusals, Duration::from_secs(10))
    }
}
