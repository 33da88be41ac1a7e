//! Truncated exponential backoff with jitter, for the retries of deliveries.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

/// Parameters of the backoff.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backoff {
    /// Delay after the first failed attempt, in milliseconds.
    pub base_ms: u64,
    /// Factor by which each further failure multiplies the delay; at least 1.
    pub factor: f64,
    /// Maximum delay, in milliseconds, including jitter.
    pub cap_ms: u64,
    /// Maximum deviation from the delay, as a fraction of it: 0.2 means between 80 % and 120 %.
    pub jitter: f64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base_ms: 10_000, factor: 4.0, cap_ms: 6 * 60 * 60 * 1_000, jitter: 0.2 }
    }
}

impl Backoff {
    /// Returns the delay in milliseconds after failed attempt number `failed_attempts` (from 1). `jitter_sample`, a
    /// random number from 0 to 1, selects the deviation from least to greatest.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "casts to integers saturate, and the cap is far below what a float holds exactly"
    )]
    pub fn delay_ms(&self, failed_attempts: u32, jitter_sample: f64) -> u64 {
        let exponent = i32::try_from(failed_attempts.saturating_sub(1)).unwrap_or(i32::MAX);
        let cap = self.cap_ms as f64;
        // An overflowing power is clamped to the largest finite float, because 0 * infinity is NaN.
        let plain = (self.base_ms as f64 * self.factor.powi(exponent).min(f64::MAX)).min(cap);
        let spread = 1.0 + self.jitter * (2.0 * jitter_sample.clamp(0.0, 1.0) - 1.0);
        ((plain * spread).max(0.0) as u64).min(self.cap_ms)
    }

    /// Returns the time of the next attempt after failure number `failed_attempts` (from 1) at `now`. The time that
    /// the receiver asked for (`Retry-After`) is used if it is later than the backoff's, up to the maximum delay.
    #[must_use]
    pub fn retry_at(
        &self,
        now: DateTime<Utc>,
        failed_attempts: u32,
        jitter_sample: f64,
        requested: Option<DateTime<Utc>>,
    ) -> DateTime<Utc> {
        let own = later(now, self.delay_ms(failed_attempts, jitter_sample));
        let latest = later(now, self.cap_ms);
        requested.map_or(own, |requested| requested.max(own).min(latest))
    }
}

fn later(now: DateTime<Utc>, delay_ms: u64) -> DateTime<Utc> {
    let delay = i64::try_from(delay_ms).ok().and_then(TimeDelta::try_milliseconds).unwrap_or(TimeDelta::MAX);
    now.checked_add_signed(delay).unwrap_or(DateTime::<Utc>::MAX_UTC)
}
