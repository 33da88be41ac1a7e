//! Settings of retries.

use std::time::Duration;

use aggregates::backoff::Backoff;

use super::problem::SettingProblem;
use super::values::{duration_between, number_between};

/// Largest value of the base and of the cap.
const DELAY_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Retry schedule: the delay starts at the base, is multiplied by the factor with each failure, and is
/// limited by the cap.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Retries")]
pub struct RetrySettings {
    /// Delay after the first failed attempt.
    ///
    /// Lower: all attempts are made before a receiver has recovered. Higher: a short outage delays events for
    /// longer than necessary.
    #[arg(
        long = "retry-base",
        env = "HOOKSENTRY_RETRY_BASE",
        value_name = "DURATION",
        default_value = "10s",
        value_parser = duration_between(Duration::from_millis(1), DELAY_MAX)
    )]
    pub base: Duration,

    /// Factor by which each further failure multiplies the delay.
    ///
    /// Lower: a receiver that is down gets more requests; with 1 the delay never grows. Higher: the second
    /// retry is made much later, above 4 perhaps by hours.
    #[arg(
        long = "retry-factor",
        env = "HOOKSENTRY_RETRY_FACTOR",
        value_name = "NUMBER",
        default_value = "4",
        value_parser = number_between::<f64>(1.0, 100.0)
    )]
    pub factor: f64,

    /// Maximum delay, even if a receiver asks for a longer one with Retry-After.
    ///
    /// Lower: all attempts are made while a receiver is down for a night. Higher: events arrive when they are
    /// of no use any more.
    #[arg(
        long = "retry-cap",
        env = "HOOKSENTRY_RETRY_CAP",
        value_name = "DURATION",
        default_value = "6h",
        value_parser = duration_between(Duration::from_millis(1), DELAY_MAX)
    )]
    pub cap: Duration,

    /// Jitter: maximum random change of the delay, as a share of it from 0 to 1.
    ///
    /// 0.2 means between 80 % and 120 % of the delay. Lower: events that failed together are retried
    /// together. Higher: delays are less predictable.
    #[arg(
        long = "retry-jitter",
        env = "HOOKSENTRY_RETRY_JITTER",
        value_name = "SHARE",
        default_value = "0.2",
        value_parser = number_between::<f64>(0.0, 1.0)
    )]
    pub jitter: f64,
}

impl RetrySettings {
    pub(super) fn check(&self) -> Result<(), SettingProblem> {
        if self.cap < self.base {
            return Err(SettingProblem::invalid(
                "HOOKSENTRY_RETRY_CAP",
                humantime::format_duration(self.cap),
                format!(
                    "must be at least HOOKSENTRY_RETRY_BASE, which is {}",
                    humantime::format_duration(self.base)
                ),
            ));
        }
        Ok(())
    }

    /// Returns the schedule as a type of the domain.
    #[must_use]
    pub fn backoff(&self) -> Backoff {
        let milliseconds = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Backoff {
            base_ms: milliseconds(self.base),
            factor: self.factor,
            cap_ms: milliseconds(self.cap),
            jitter: self.jitter,
        }
    }
}
