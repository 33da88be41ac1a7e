//! Limit of failed logins by client address and by email address.
//!
//! A success clears the failures of its email address: a client with the password has proved that they were typing
//! errors. Of those of the client's address it takes back only these. Otherwise a client could guess at the passwords
//! of others without end, with a login to an account of its own after every nine guesses.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use aggregates::email::Email;
use moka::sync::Cache;

use crate::api::http::problem::Problem;
use crate::api::http::rate_limits::{Hit, RateLimiter};
use crate::config::RateLimit;

/// Email addresses with failures that can be taken back.
const EMAILS_MAX: u64 = 50_000;

/// Failed logins within the last window.
#[derive(Clone, Debug)]
pub(crate) struct FailedLogins {
    failures: RateLimiter,
    /// What the failures with an email address have counted against addresses of clients. The limit of the email
    /// address bounds each list.
    from_addresses: Option<Cache<Email, Arc<Mutex<Vec<Hit>>>>>,
}

impl FailedLogins {
    /// Without a limit no login is refused.
    pub(crate) fn new(limit: Option<RateLimit>) -> Self {
        let cache =
            |limit: RateLimit| Cache::builder().max_capacity(EMAILS_MAX).time_to_live(limit.window).build();
        Self { failures: RateLimiter::new(limit), from_addresses: limit.map(cache) }
    }

    /// Checks that another login may be tried.
    ///
    /// # Errors
    /// A problem of kind `TooManyRequests`.
    pub(crate) fn check(&self, client: IpAddr, email: &Email) -> Result<(), Problem> {
        self.failures.check(client)?;
        self.failures.check(email)
    }

    /// Counts a failure.
    ///
    /// # Errors
    /// A problem of kind `TooManyRequests` if a limit is exceeded.
    pub(crate) fn count(&self, client: IpAddr, email: &Email) -> Result<(), Problem> {
        let (from_client, with_email) = (self.failures.hit(client), self.failures.hit(email));
        with_email?;
        let hit = from_client?;
        if let Some(cache) = &self.from_addresses {
            let hits = cache.get_with_by_ref(email, Arc::default);
            hits.lock().unwrap_or_else(PoisonError::into_inner).push(hit);
        }
        Ok(())
    }

    /// Clears the failures with this email address after a success.
    pub(crate) fn clear(&self, email: &Email) {
        self.failures.reset(email);
        let Some(hits) = self.from_addresses.as_ref().and_then(|cache| cache.remove(email)) else { return };
        let hits = std::mem::take(&mut *hits.lock().unwrap_or_else(PoisonError::into_inner));
        hits.into_iter().for_each(Hit::take_back);
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use super::*;

    fn failed_logins() -> FailedLogins {
        let most = NonZeroU32::new(10).unwrap();
        FailedLogins::new(Some(RateLimit { most, window: Duration::from_secs(300) }))
    }

    fn email(name: &str) -> Email {
        Email::parse(&format!("{name}@example.com")).unwrap()
    }

    fn client(number: u8) -> IpAddr {
        [192, 0, 2, number].into()
    }

    #[test]
    fn a_success_takes_back_the_failures_with_its_email_and_no_others() {
        let logins = failed_logins();
        for _ in 0..3 {
            for _ in 0..3 {
                logins.count(client(1), &email("own")).unwrap();
            }
            logins.clear(&email("own"));
        }
        for number in 0..9 {
            logins.count(client(1), &email(&format!("other-{number}"))).unwrap();
        }
        logins.clear(&email("own"));
        logins.check(client(1), &email("own")).unwrap();
        logins.count(client(1), &email("other-9")).unwrap();
        logins.clear(&email("own"));
        assert!(logins.check(client(1), &email("own")).is_err());
        assert!(logins.check(client(2), &email("own")).is_ok());
    }

    #[test]
    fn an_email_is_limited_over_all_addresses() {
        let logins = failed_logins();
        for number in 0..10 {
            logins.count(client(number), &email("own")).unwrap();
        }
        assert!(logins.check(client(100), &email("own")).is_err());
        assert!(logins.count(client(100), &email("own")).is_err());
        assert!(logins.check(client(100), &email("other")).is_ok());
    }
}
