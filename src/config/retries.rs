//! When failed attempts are repeated.

use std::time::Duration;

use aggregates::backoff::Backoff;

use super::problem::SettingProblem;
use super::values::{duration_between, number_between};

/// The schedule of retries: the delay begins at the base, grows by the factor with each failure, and
/// stays at the cap.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Retries")]
pub struct RetrySettings {
    /// Delay after the first failed attempt.
    ///
    /// Too short and all attempts are over before a receiver has recovered; too long and a hiccup delays
    /// an event for no reason.
    #[arg(
        long = "retry-base",
        env = "HOOKSENTRY_RETRY_BASE",
        value_name = "DURATION",
        default_value = "10s",
        value_parser = duration_between(Duration::from_millis(1), LONGEST)
    )]
    pub base: Duration,

    /// What each further failure multiplies the delay by.
    ///
    /// With 1 the delay never grows and a dead receiver is hammered; much above 4 and the second retry
    /// comes hours late.
    #[arg(
        long = "retry-factor",
        env = "HOOKSENTRY_RETRY_FACTOR",
        value_name = "NUMBER",
        default_value = "4",
        value_parser = number_between::<f64>(1.0, 100.0)
    )]
    pub factor: f64,

    /// Longest delay, also when a receiver asks for a longer one with Retry-After.
    ///
    /// Too short and a receiver that is down for a night gets no second chance; too long and events arrive
    /// when nobody wants them any more.
    #[arg(
        long = "retry-cap",
        env = "HOOKSENTRY_RETRY_CAP",
        value_name = "DURATION",
        default_value = "6h",
        value_parser = duration_between(Duration::from_millis(1), LONGEST)
    )]
    pub cap: Duration,

    /// Share of the delay by which it may differ either way.
    ///
    /// From 0 to 1; 0.2 means between 80 % and 120 %. With 0, what failed together is repeated together.
    #[arg(
        long = "retry-jitter",
        env = "HOOKSENTRY_RETRY_JITTER",
        value_name = "SHARE",
        default_value = "0.2",
        value_parser = number_between::<f64>(0.0, 1.0)
    )]
    pub jitter: f64,
}

const LONGEST: Duration = Duration::from_secs(30 * 24 * 3_600);

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

    /// The schedule, as the domain knows it.
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
