//! Cache of the access tokens that destinations' token endpoints have issued.
//!
//! Concurrent attempts to one destination need the same token. One of them fetches it while the others wait,
//! and all get the result, be it a token or a failure: an endpoint that fails is called once and not once per
//! waiting attempt. When the attempt that fetches is cancelled, one of the waiting attempts fetches instead.

use std::future::ready;
use std::time::{Duration, Instant};

use aggregates::ids::DestinationId;
use aggregates::outbound_credentials::OutboundCredentials;
use moka::future::Cache;
use moka::ops::compute::Op;
use moka::{Entry, Expiry};
use reqwest::header::HeaderValue;
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use super::failure::Failure;

/// Maximum number of cached tokens; destinations above it fetch theirs more often.
const TOKENS_MAX: u64 = 10_000;

/// Time after which an unused token is dropped.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// Time before its expiry from which a token is no longer used, so that it does not expire in transit.
const EXPIRY_MARGIN: Duration = Duration::from_secs(60);

/// Time for which a token is used when its endpoint does not return an expiry.
const LIFETIME_UNKNOWN: Duration = Duration::from_secs(5 * 60);

/// Maximum time for which a token is used.
const LIFETIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Key of a token: a destination with its current credentials.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct TokenKey {
    destination_id: DestinationId,
    credentials: [u8; 32],
}

impl TokenKey {
    pub(super) fn new(destination_id: DestinationId, credentials: &OutboundCredentials) -> Self {
        let digest = Sha256::digest(credentials.to_plaintext().expose_secret());
        Self { destination_id, credentials: digest.into() }
    }
}

/// An access token.
#[derive(Clone, Debug)]
pub(super) struct Token {
    /// Value of the `Authorization` header, marked sensitive.
    pub(super) authorization: HeaderValue,
    /// Time for which the token may be used.
    lifetime: Duration,
}

impl Token {
    /// Returns a token that its endpoint says expires in so many seconds.
    pub(super) fn new(authorization: HeaderValue, expires_in: Option<u64>) -> Self {
        let lifetime = expires_in.map_or(LIFETIME_UNKNOWN, |seconds| {
            Duration::from_secs(seconds).saturating_sub(EXPIRY_MARGIN).min(LIFETIME_MAX)
        });
        Self { authorization, lifetime }
    }
}

struct TokenLifetime;

impl Expiry<TokenKey, Token> for TokenLifetime {
    fn expire_after_create(&self, _: &TokenKey, token: &Token, _: Instant) -> Option<Duration> {
        Some(token.lifetime)
    }

    fn expire_after_update(
        &self,
        _: &TokenKey,
        token: &Token,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(token.lifetime)
    }
}

/// The tokens of all destinations.
#[derive(Debug)]
pub(super) struct TokenCache(Cache<TokenKey, Token>);

impl Default for TokenCache {
    fn default() -> Self {
        let tokens = Cache::builder().max_capacity(TOKENS_MAX).time_to_idle(IDLE_TIMEOUT);
        Self(tokens.expire_after(TokenLifetime).build())
    }
}

impl TokenCache {
    /// Returns the cached token, or the result of `fetch` or of the fetch of a concurrent caller. Failures
    /// are not cached.
    ///
    /// # Errors
    /// The failure of the fetch.
    pub(super) async fn get(
        &self,
        key: &TokenKey,
        fetch: impl Future<Output = Result<Token, Failure>>,
    ) -> Result<Token, Failure> {
        self.0.try_get_with_by_ref(key, fetch).await.map_err(|failure| (*failure).clone())
    }

    /// Removes a token that its destination has refused, unless it was replaced already.
    pub(super) async fn forget(&self, key: &TokenKey, refused: &Token) {
        let remove = |cached: Option<Entry<TokenKey, Token>>| {
            let is_refused = cached.is_some_and(|entry| entry.value().authorization == refused.authorization);
            ready(if is_refused { Op::Remove } else { Op::Nop })
        };
        self.0.entry_by_ref(key).and_compute_with(remove).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use aggregates::attempt_outcome::Outcome;
    use futures::future::join_all;

    use super::*;

    fn key(token: &'static str) -> TokenKey {
        let credentials = OutboundCredentials::BearerToken { token: token.into() };
        TokenKey::new(DestinationId::default(), &credentials)
    }

    fn token(name: &'static str, expires_in: Option<u64>) -> Token {
        Token::new(HeaderValue::from_static(name), expires_in)
    }

    async fn name(cache: &TokenCache, key: &TokenKey, fetched: Token) -> HeaderValue {
        cache.get(key, async { Ok(fetched) }).await.unwrap().authorization
    }

    #[test]
    fn a_token_is_used_until_a_minute_before_it_expires() {
        for (expires_in, seconds) in
            [(Some(100), 40), (None, 300), (Some(0), 0), (Some(60), 0), (Some(u64::MAX), 24 * 60 * 60)]
        {
            assert_eq!(token("1", expires_in).lifetime, Duration::from_secs(seconds), "{expires_in:?}");
        }
    }

    #[tokio::test]
    async fn a_valid_token_is_cached_and_an_expired_one_is_fetched_again() {
        let cache = TokenCache::default();
        assert_eq!(name(&cache, &key("a"), token("1", Some(30))).await, "1");
        assert_eq!(name(&cache, &key("a"), token("2", Some(3600))).await, "2");
        assert_eq!(name(&cache, &key("a"), token("3", None)).await, "2");
    }

    #[tokio::test]
    async fn other_credentials_have_another_token() {
        let cache = TokenCache::default();
        assert_eq!(name(&cache, &key("a"), token("1", None)).await, "1");
        assert_eq!(name(&cache, &key("b"), token("2", None)).await, "2");
    }

    #[tokio::test]
    async fn concurrent_callers_share_one_fetch_and_its_failure() {
        static KEY: LazyLock<TokenKey> = LazyLock::new(|| key("a"));
        let cache = TokenCache::default();
        let fetches = AtomicUsize::new(0);
        let failing = || {
            cache.get(&KEY, async {
                fetches.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                Err(Failure::new(Outcome::TokenEndpoint, "down"))
            })
        };
        let results = join_all((0..20).map(|_| failing())).await;
        assert!(results.iter().all(Result::is_err));
        assert_eq!(fetches.load(Ordering::Relaxed), 1);
        assert!(failing().await.is_err());
        assert_eq!(fetches.load(Ordering::Relaxed), 2, "a later caller fetches again");
    }

    #[tokio::test]
    async fn when_the_caller_that_fetches_is_cancelled_the_next_one_fetches() {
        let cache = TokenCache::default();
        let key = key("a");
        let mut stuck = Box::pin(cache.get(&key, std::future::pending()));
        assert!(futures::poll!(&mut stuck).is_pending());
        let mut waiting = Box::pin(cache.get(&key, async { Ok(token("1", None)) }));
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(stuck);
        assert_eq!(waiting.await.unwrap().authorization, "1");
    }

    #[tokio::test]
    async fn a_refused_token_is_forgotten_once() {
        let cache = TokenCache::default();
        let key = key("a");
        assert_eq!(name(&cache, &key, token("1", None)).await, "1");
        cache.forget(&key, &token("1", None)).await;
        assert_eq!(name(&cache, &key, token("2", None)).await, "2");
        cache.forget(&key, &token("1", None)).await;
        assert_eq!(name(&cache, &key, token("3", None)).await, "2", "the newer token was not refused");
    }
}
