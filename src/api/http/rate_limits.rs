//! Rate limits.
//!
//! A window is fixed: it starts with the first hit, and later hits do not extend it. The counters are in the memory
//! of this process, which is bounded: if there are too many keys, the least active ones are dropped first. Each
//! process counts for itself, so the limit of the installation is that of a process times their number.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use aggregates::email::Email;
use aggregates::ids::{SessionId, UserId};
use moka::sync::Cache;

use crate::api::http::problem::Problem;
use crate::client_network::ClientNetwork;
use crate::config::RateLimit;

/// Keys with a window in each limiter, about 200 bytes each.
const KEYS_MAX: u64 = 50_000;

/// What hits are counted by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RateLimitKey {
    Client(ClientNetwork),
    AllClients,
    /// Email address in the request, from any client.
    Email(Email),
    Session(SessionId),
    User(UserId),
}

impl From<SessionId> for RateLimitKey {
    fn from(id: SessionId) -> Self {
        Self::Session(id)
    }
}

impl From<&Email> for RateLimitKey {
    fn from(email: &Email) -> Self {
        Self::Email(email.clone())
    }
}

impl From<UserId> for RateLimitKey {
    fn from(id: UserId) -> Self {
        Self::User(id)
    }
}

impl From<IpAddr> for RateLimitKey {
    fn from(address: IpAddr) -> Self {
        Self::Client(address.into())
    }
}

/// A limit of hits within a window, for each key.
#[derive(Clone, Debug)]
pub(crate) struct RateLimiter(Option<Windows>);

#[derive(Clone, Debug)]
struct Windows {
    hits_max: u32,
    window: Duration,
    windows: Cache<RateLimitKey, Arc<Window>>,
}

#[derive(Debug)]
struct Window {
    started: Instant,
    hits: AtomicU32,
}

/// A hit that was counted, and can be taken back. `None`: there is no limit.
#[derive(Clone, Debug)]
pub(crate) struct Hit(Option<Arc<Window>>);

impl Hit {
    /// Takes the hit back, if its window has not ended.
    pub(crate) fn take_back(self) {
        if let Some(window) = self.0 {
            window.hits.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl RateLimiter {
    /// Without a limit no hit is refused.
    pub(crate) fn new(limit: Option<RateLimit>) -> Self {
        Self(limit.map(|limit| Windows {
            hits_max: limit.most.get(),
            window: limit.window,
            windows: Cache::builder().max_capacity(KEYS_MAX).time_to_live(limit.window).build(),
        }))
    }

    /// Checks that another hit is allowed, without counting one.
    ///
    /// # Errors
    /// A problem of kind `TooManyRequests`.
    pub(crate) fn check(&self, key: impl Into<RateLimitKey>) -> Result<(), Problem> {
        let Some(limited) = &self.0 else { return Ok(()) };
        match limited.windows.get(&key.into()) {
            Some(window) if window.hits.load(Ordering::Relaxed) >= limited.hits_max => {
                Err(limited.refuse(&window))
            }
            _ => Ok(()),
        }
    }

    /// Counts a hit.
    ///
    /// # Errors
    /// A problem of kind `TooManyRequests` if the limit is exceeded.
    pub(crate) fn hit(&self, key: impl Into<RateLimitKey>) -> Result<Hit, Problem> {
        let Some(limited) = &self.0 else { return Ok(Hit(None)) };
        let fresh = || Arc::new(Window { started: Instant::now(), hits: AtomicU32::new(0) });
        let window = limited.windows.get_with(key.into(), fresh);
        let counted = window.hits.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |hits| {
            (hits < limited.hits_max).then_some(hits + 1)
        });
        match counted {
            Ok(_) => Ok(Hit(Some(window))),
            Err(_) => Err(limited.refuse(&window)),
        }
    }

    /// Resets the count of a key.
    pub(crate) fn reset(&self, key: impl Into<RateLimitKey>) {
        if let Some(limited) = &self.0 {
            limited.windows.invalidate(&key.into());
        }
    }
}

impl Windows {
    fn refuse(&self, window: &Window) -> Problem {
        Problem::too_many_requests(self.window.saturating_sub(window.started.elapsed()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(most: u32) -> RateLimiter {
        limit_within(most, Duration::from_secs(300))
    }

    fn limit_within(most: u32, window: Duration) -> RateLimiter {
        RateLimiter::new(std::num::NonZeroU32::new(most).map(|most| RateLimit { most, window }))
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn hits_beyond_the_limit_are_refused_until_the_count_is_reset() {
        let limit = limit(3);
        let client = address("192.0.2.1");
        assert!((0..3).all(|_| limit.check(client).is_ok() && limit.hit(client).is_ok()));
        assert!(limit.check(client).is_err());
        assert!((0..3).all(|_| limit.hit(client).is_err()));
        assert!(limit.hit(address("192.0.2.2")).is_ok(), "another address is counted separately");
        limit.reset(client);
        assert!(limit.hit(client).is_ok());
    }

    #[test]
    fn without_a_limit_no_hit_is_refused() {
        let limit = limit(0);
        assert!((0..1_000).all(|_| limit.hit(address("192.0.2.1")).is_ok()));
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_counted_together() {
        let limit = limit(1);
        assert!(limit.hit(address("2001:db8:1:2::1")).is_ok());
        assert!(limit.hit(address("2001:db8:1:2:ffff::9")).is_err());
        assert!(limit.hit(address("2001:db8:1:3::1")).is_ok());
        assert!(limit.hit(address("192.0.2.1")).is_ok());
        assert!(limit.hit(address("::ffff:192.0.2.1")).is_err());
    }

    #[test]
    fn a_window_ends_after_its_duration() {
        let limit = limit_within(1, Duration::from_millis(1));
        let client = address("192.0.2.1");
        let deadline = Instant::now() + Duration::from_secs(10);
        assert!(limit.hit(client).is_ok());
        while limit.hit(client).is_err() {
            assert!(Instant::now() < deadline, "the window never ended");
            std::thread::yield_now();
        }
    }
}
