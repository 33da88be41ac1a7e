//! The clocks, read in one place.
//!
//! The wall clock says when something happened. It may be set, and differs from machine to machine, so it
//! measures no durations: deadlines within a process are [`BootTime`].

use std::ops::{Add, Sub};
use std::time::Duration;

use chrono::{DateTime, SubsecRound, Utc};

/// Returns the current time in whole milliseconds: facts store whole milliseconds, so the time in a response
/// equals the time that is read back later.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
pub fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(3)
}

/// Time since the machine was started.
///
/// This is `CLOCK_BOOTTIME`: no one sets it, and unlike `CLOCK_MONOTONIC`, which [`std::time::Instant`] and
/// Tokio's timers read, it advances while the machine is suspended. A virtual machine that was paused for a
/// minute must know that its claims are a minute old. It means nothing to other machines and is never stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootTime(Duration);

impl BootTime {
    #[must_use]
    pub fn now() -> Self {
        let time = rustix::time::clock_gettime(BOOT_CLOCK);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        Self(Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default()))
    }

    /// Returns the time from `earlier` to `self`; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// Returns the time that has passed.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        Self::now().since(self)
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
const BOOT_CLOCK: rustix::time::ClockId = rustix::time::ClockId::Boottime;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const BOOT_CLOCK: rustix::time::ClockId = rustix::time::ClockId::Monotonic;

impl Add<Duration> for BootTime {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }
}

impl Sub<Duration> for BootTime {
    type Output = Self;

    fn sub(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(time))
    }
}

/// The present, by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Present {
    /// For times in facts and tables.
    pub wall: DateTime<Utc>,
    /// For durations.
    pub boot: BootTime,
}

impl Present {
    #[must_use]
    pub fn read() -> Self {
        Self { wall: now(), boot: BootTime::now() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn now_has_whole_milliseconds_and_advances() {
        let first = now();
        assert_eq!(first.timestamp_subsec_nanos() % 1_000_000, 0);
        assert!(now() >= first);
    }

    #[test]
    fn boot_time_advances() {
        let first = BootTime::now();
        assert!(first > BootTime::default() && BootTime::now() >= first);
        assert_eq!((first + Duration::from_secs(5)).since(first), Duration::from_secs(5));
        assert_eq!(first.since(first + Duration::from_secs(5)), Duration::ZERO);
    }
}
