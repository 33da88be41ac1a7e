//! Exchange of the tokens of a session.
//!
//! The API ends a session when a refresh token is used twice, because then two parties have it. A browser sends
//! several requests at once with the same cookie, so an exchange is made once, and its result is remembered for the
//! requests that still have the old token. It is a task of its own: a client that closes its connection must not stop
//! it when the API has exchanged the token already.
//!
//! Each process remembers for itself. With several processes, a load balancer should send a client to the same one.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use moka::sync::Cache;
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use tokio_util::task::TaskTracker;

use super::{SignedIn, has_ended};
use crate::api::problem::ApiError;
use crate::api::{Api, Caller};

/// Seconds before its end at which an access token is exchanged.
const BEFORE_EXPIRY_SECONDS: i64 = 60;
/// Time for which the result of an exchange is remembered.
const REMEMBERED_FOR: Duration = Duration::from_secs(60);
/// Exchanges that are remembered, about 1 KiB each.
const REMEMBERED_MAX: u64 = 10_000;

type Exchange = Shared<BoxFuture<'static, Result<SignedIn, Arc<ApiError>>>>;

/// Exchanges tokens that are about to expire.
pub(super) struct Refresher {
    api: Api,
    tasks: TaskTracker,
    /// By the hash of the refresh token.
    exchanges: Cache<[u8; 32], Exchange>,
}

/// A session that can be used now.
pub(super) enum Refreshed {
    Unchanged(SignedIn),
    New(SignedIn),
    /// The API has ended the session.
    Ended,
    /// The API did not answer, and the access token has expired.
    Failed(Arc<ApiError>),
}

impl Refresher {
    pub(super) fn new(api: Api, tasks: TaskTracker) -> Self {
        let exchanges = Cache::builder().max_capacity(REMEMBERED_MAX).time_to_live(REMEMBERED_FOR).build();
        Self { api, tasks, exchanges }
    }

    /// Returns the session with tokens that have not expired.
    pub(super) async fn current(&self, session: SignedIn, caller: &Caller) -> Refreshed {
        if !session.expires_within(BEFORE_EXPIRY_SECONDS) {
            return Refreshed::Unchanged(session);
        }
        let key: [u8; 32] = Sha256::digest(session.tokens.refresh_token.expose_secret()).into();
        let exchange = self.exchanges.get_with(key, || self.begin(&session, caller));
        match exchange.await {
            Ok(refreshed) => Refreshed::New(refreshed),
            Err(error) if has_ended(&error) => Refreshed::Ended,
            Err(error) => {
                // The API may answer the next request.
                self.exchanges.invalidate(&key);
                if session.expires_within(0) {
                    Refreshed::Failed(error)
                } else {
                    Refreshed::Unchanged(session)
                }
            }
        }
    }

    fn begin(&self, session: &SignedIn, caller: &Caller) -> Exchange {
        let (client, token) = (self.api.of(caller.clone()), session.tokens.refresh_token.clone());
        let task = self.tasks.spawn(async move {
            let tokens = client.refresh(&token).await.map_err(Arc::new)?;
            SignedIn::of(tokens).ok_or_else(|| Arc::new(ApiError::unreadable("tokens without claims")))
        });
        let finished =
            task.map(|joined| joined.unwrap_or_else(|error| Err(Arc::new(ApiError::unreadable(error)))));
        finished.boxed().shared()
    }
}
