//! How often one place may try something.
//!
//! A window is fixed: it starts with the first hit and is not extended by later ones. Counters live in
//! this process and in bounded memory; when more places than that try at once, the least active ones are
//! forgotten first. Several nodes count apart, so the limit of all is that of one times their number.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use aggregates::email::Email;
use moka::sync::Cache;

use crate::api::http::problem::Problem;
use crate::config::RateLimit;

/// Places remembered for each limit, about 200 bytes each.
const PLACES_MAX: u64 = 50_000;

/// Where a hit comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// A network address; of IPv6 the network that one customer gets (a /64).
    Address(IpAddr),
    /// An email, whoever tries it.
    Email(Email),
}

impl From<&Email> for Place {
    fn from(email: &Email) -> Self {
        Self::Email(email.clone())
    }
}

impl From<IpAddr> for Place {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::Address(address.into()),
            IpAddr::V6(address) => {
                let network = u128::from(address) >> 64 << 64;
                Self::Address(IpAddr::V6(network.into()))
            }
        }
    }
}

/// One limit and what counts towards it.
#[derive(Clone, Debug)]
pub(crate) struct Limiter(Option<Counters>);

#[derive(Clone, Debug)]
struct Counters {
    hits_max: u32,
    window: Duration,
    windows: Cache<Place, Arc<Window>>,
}

#[derive(Debug)]
struct Window {
    started: Instant,
    hits: AtomicU32,
}

impl Limiter {
    /// `None` lets everything through.
    pub(crate) fn new(limit: Option<RateLimit>) -> Self {
        Self(limit.map(|limit| Counters {
            hits_max: limit.most.get(),
            window: limit.window,
            windows: Cache::builder().max_capacity(PLACES_MAX).time_to_live(limit.window).build(),
        }))
    }

    /// Refuses when no further hit is let through, and counts nothing.
    pub(crate) fn check(&self, place: impl Into<Place>) -> Result<(), Problem> {
        let Some(counters) = &self.0 else { return Ok(()) };
        match counters.windows.get(&place.into()) {
            Some(window) if window.hits.load(Ordering::Relaxed) >= counters.hits_max => {
                Err(counters.refuse(&window))
            }
            _ => Ok(()),
        }
    }

    /// Counts a hit, and refuses it when it is one too many.
    pub(crate) fn hit(&self, place: impl Into<Place>) -> Result<(), Problem> {
        let Some(counters) = &self.0 else { return Ok(()) };
        let fresh = || Arc::new(Window { started: Instant::now(), hits: AtomicU32::new(0) });
        let window = counters.windows.get_with(place.into(), fresh);
        let counted = window.hits.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |hits| {
            (hits < counters.hits_max).then_some(hits + 1)
        });
        counted.map(|_| ()).map_err(|_| counters.refuse(&window))
    }

    /// Forgets the hits of a place.
    pub(crate) fn clear(&self, place: impl Into<Place>) {
        if let Some(counters) = &self.0 {
            counters.windows.invalidate(&place.into());
        }
    }
}

impl Counters {
    fn refuse(&self, window: &Window) -> Problem {
        Problem::too_many_requests(self.window.saturating_sub(window.started.elapsed()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(most: u32) -> Limiter {
        limit_within(most, Duration::from_secs(300))
    }

    fn limit_within(most: u32, window: Duration) -> Limiter {
        Limiter::new(std::num::NonZeroU32::new(most).map(|most| RateLimit { most, window }))
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn hits_beyond_the_limit_are_refused_until_the_place_is_cleared() {
        let limit = limit(3);
        let place = address("192.0.2.1");
        assert!((0..3).all(|_| limit.check(place).is_ok() && limit.hit(place).is_ok()));
        assert!(limit.check(place).is_err());
        assert!((0..3).all(|_| limit.hit(place).is_err()));
        assert!(limit.hit(address("192.0.2.2")).is_ok(), "another place is not meant");
        limit.clear(place);
        assert!(limit.hit(place).is_ok());
    }

    #[test]
    fn without_a_limit_everything_passes() {
        let limit = limit(0);
        assert!((0..1_000).all(|_| limit.hit(address("192.0.2.1")).is_ok()));
    }

    #[test]
    fn one_customer_is_one_place() {
        let limit = limit(1);
        assert!(limit.hit(address("2001:db8:1:2::1")).is_ok());
        assert!(limit.hit(address("2001:db8:1:2:ffff::9")).is_err());
        assert!(limit.hit(address("2001:db8:1:3::1")).is_ok());
        assert!(limit.hit(address("192.0.2.1")).is_ok());
        assert!(limit.hit(address("::ffff:192.0.2.1")).is_err());
    }

    #[test]
    fn a_window_ends_by_itself() {
        let limit = limit_within(1, Duration::from_millis(1));
        let place = address("192.0.2.1");
        let deadline = Instant::now() + Duration::from_secs(10);
        assert!(limit.hit(place).is_ok());
        while limit.hit(place).is_err() {
            assert!(Instant::now() < deadline, "the window never ended");
            std::thread::yield_now();
        }
    }
}
