//! Access tokens that destinations' token endpoints have handed out, until they expire.
//!
//! Many attempts to one destination want the same token at the same moment. One of them fetches it
//! while the others wait, and all of them take what came of it, be it a token or a failure: an endpoint
//! that is down is asked once and not once per waiting attempt. Should the one that fetches give up
//! half-way, the next in line takes over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aggregates::ids::DestinationId;
use aggregates::outbound_credentials::OutboundCredentials;
use moka::sync::Cache;
use reqwest::header::HeaderValue;
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::failure::Failure;

/// Destinations whose tokens are remembered; more only fetch more often.
const DESTINATIONS_MAX: u64 = 10_000;

/// A token nobody has asked for this long is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60 * 60);

/// How long before its end a token is no longer used, so that it does not expire under way.
const EXPIRY_MARGIN: Duration = Duration::from_secs(60);

/// How long a token is used when its endpoint does not say how long it is good for.
const LIFETIME_UNKNOWN: Duration = Duration::from_secs(5 * 60);

/// How long a token is used at most, whatever its endpoint says.
const LIFETIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Whose token: a destination's, and only as long as its credentials stay the same.
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

/// A token as it is sent: the whole, sensitive value of the `Authorization` header.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) authorization: HeaderValue,
    good_until: Instant,
}

impl Token {
    /// A token that arrived at `now` and said it expires in so many seconds.
    pub(super) fn new(authorization: HeaderValue, expires_in: Option<u64>, now: Instant) -> Self {
        let lifetime = expires_in.map_or(LIFETIME_UNKNOWN, |seconds| {
            Duration::from_secs(seconds).saturating_sub(EXPIRY_MARGIN).min(LIFETIME_MAX)
        });
        Self { authorization, good_until: now + lifetime }
    }

    fn is_good_at(&self, now: Instant) -> bool {
        now < self.good_until
    }
}

/// The tokens of all destinations, bounded in number.
#[derive(Debug)]
pub(super) struct TokenCache {
    slots: Cache<TokenKey, Arc<Slot>>,
}

impl Default for TokenCache {
    fn default() -> Self {
        let slots = Cache::builder().max_capacity(DESTINATIONS_MAX).time_to_idle(FORGOTTEN_AFTER).build();
        Self { slots }
    }
}

/// One destination's token. The lock is held while a token is fetched; that is what makes the others
/// wait.
#[derive(Debug, Default)]
struct Slot {
    /// How many fetches have ended, so that whoever waited can tell that one ended while it did.
    fetches_ended: AtomicU64,
    latest: Mutex<Option<Result<Token, Failure>>>,
}

impl TokenCache {
    /// The token in use, or the result of a fetch, made by this caller or by another one in the meantime.
    pub(super) async fn get<F>(&self, key: &TokenKey, fetch: impl FnOnce() -> F) -> Result<Token, Failure>
    where
        F: Future<Output = Result<Token, Failure>>,
    {
        let slot = self.slots.get_with_by_ref(key, Arc::default);
        let ended_before = slot.fetches_ended.load(Ordering::Acquire);
        let mut latest = slot.latest.lock().await;
        let waited_for_it = slot.fetches_ended.load(Ordering::Acquire) != ended_before;
        match &*latest {
            Some(Ok(token)) if waited_for_it || token.is_good_at(Instant::now()) => return Ok(token.clone()),
            Some(Err(failure)) if waited_for_it => return Err(failure.clone()),
            _ => {}
        }
        let result = fetch().await;
        *latest = Some(result.clone());
        slot.fetches_ended.fetch_add(1, Ordering::Release);
        result
    }

    /// Forgets a token that its destination has refused, unless a newer one has taken its place already.
    pub(super) async fn forget(&self, key: &TokenKey, refused: &Token) {
        if let Some(slot) = self.slots.get(key) {
            let mut latest = slot.latest.lock().await;
            if matches!(&*latest, Some(Ok(token)) if token.authorization == refused.authorization) {
                *latest = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use aggregates::attempt_outcome::Outcome;
    use futures::future::join_all;

    use super::*;

    fn key(token: &'static str) -> TokenKey {
        let credentials = OutboundCredentials::BearerToken { token: token.into() };
        TokenKey::new(DestinationId::default(), &credentials)
    }

    fn token(name: &'static str, expires_in: Option<u64>) -> Token {
        Token::new(HeaderValue::from_static(name), expires_in, Instant::now())
    }

    async fn name(cache: &TokenCache, key: &TokenKey, fetched: Token) -> HeaderValue {
        cache.get(key, || async { Ok(fetched) }).await.unwrap().authorization
    }

    #[test]
    fn a_token_is_used_until_a_minute_before_it_expires() {
        let now = Instant::now();
        for (expires_in, used_for) in
            [(Some(100), 40), (None, 300), (Some(0), 0), (Some(60), 0), (Some(u64::MAX), 24 * 60 * 60)]
        {
            let token = Token::new(HeaderValue::from_static("1"), expires_in, now);
            let end = now + Duration::from_secs(used_for);
            assert!(!token.is_good_at(end), "{expires_in:?}");
            assert!(used_for == 0 || token.is_good_at(end - Duration::from_millis(1)), "{expires_in:?}");
        }
    }

    #[tokio::test]
    async fn a_good_token_is_kept_and_an_expired_one_is_fetched_again() {
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
    async fn all_who_wait_share_one_fetch_and_its_failure() {
        let cache = TokenCache::default();
        let fetches = AtomicUsize::new(0);
        let failing = || {
            cache.get(&KEY, || async {
                fetches.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                Err(Failure::new(Outcome::TokenEndpoint, "down"))
            })
        };
        static KEY: std::sync::LazyLock<TokenKey> = std::sync::LazyLock::new(|| key("a"));
        let results = join_all((0..20).map(|_| failing())).await;
        assert!(results.iter().all(Result::is_err));
        assert_eq!(fetches.load(Ordering::Relaxed), 1);
        assert!(failing().await.is_err());
        assert_eq!(fetches.load(Ordering::Relaxed), 2, "who comes later asks again");
    }

    #[tokio::test]
    async fn when_the_one_that_fetches_gives_up_the_next_one_fetches() {
        let cache = TokenCache::default();
        let key = key("a");
        let stuck = cache.get(&key, std::future::pending);
        let waiting = cache.get(&key, || async { Ok(token("1", None)) });
        let mut stuck = Box::pin(stuck);
        assert!(futures::poll!(&mut stuck).is_pending());
        let mut waiting = Box::pin(waiting);
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
