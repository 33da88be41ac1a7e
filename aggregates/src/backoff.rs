//! When a failed attempt is repeated: truncated exponential backoff with jitter.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

/// The schedule of retries.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backoff {
    /// Delay after the first failed attempt, in milliseconds.
    pub base_ms: u64,
    /// What each further failure multiplies the delay by; at least 1.
    pub factor: f64,
    /// Longest delay, in milliseconds, jitter included.
    pub cap_ms: u64,
    /// Share of the delay by which it may differ either way: 0.2 means between 80 % and 120 %.
    pub jitter: f64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base_ms: 10_000, factor: 4.0, cap_ms: 6 * 60 * 60 * 1_000, jitter: 0.2 }
    }
}

impl Backoff {
    /// The delay after failed attempt number `failed_attempts` (from 1), in milliseconds. `jitter_sample` is
    /// a random number from 0 to 1 that places the delay within its jitter.
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
        // A power that overflows is brought back among the numbers: none at all times infinity is NaN.
        let plain = (self.base_ms as f64 * self.factor.powi(exponent).min(f64::MAX)).min(cap);
        let spread = 1.0 + self.jitter * (2.0 * jitter_sample.clamp(0.0, 1.0) - 1.0);
        ((plain * spread).max(0.0) as u64).min(self.cap_ms)
    }

    /// When to try again after failure number `failed_attempts` at `now`. A receiver's wish
    /// (`Retry-After`) is honoured when it lies later than our own delay, up to the cap.
    #[must_use]
    pub fn retry_at(
        &self,
        now: DateTime<Utc>,
        failed_attempts: u32,
        jitter_sample: f64,
        wished: Option<DateTime<Utc>>,
    ) -> DateTime<Utc> {
        let own = later(now, self.delay_ms(failed_attempts, jitter_sample));
        let latest = later(now, self.cap_ms);
        wished.map_or(own, |wished| wished.max(own).min(latest))
    }
}

fn later(now: DateTime<Utc>, delay_ms: u64) -> DateTime<Utc> {
    let delay = i64::try_from(delay_ms).ok().and_then(TimeDelta::try_milliseconds).unwrap_or(TimeDelta::MAX);
    now.checked_add_signed(delay).unwrap_or(DateTime::<Utc>::MAX_UTC)
}
