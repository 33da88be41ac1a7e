//! Links that sign in once, for the demonstration on this machine.
//!
//! A link holds credentials in the memory of this process until it is used or too old. Only a client on this machine
//! can use it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::ConnectInfo;
use axum::http::request::Parts;
use secrecy::SecretString;
use sha2::{Digest, Sha256};

/// Time for which a link can be used.
const VALID_FOR: Duration = Duration::from_secs(30 * 60);
/// Links at a time. A further one replaces the oldest.
const LINKS_MAX: usize = 8;
/// First segment of a link's path.
const PATH: &str = "/welcome";

/// Links that have not been used.
#[derive(Clone, Debug, Default)]
pub struct SignInLinks(Arc<Mutex<Vec<Link>>>);

#[derive(Debug)]
struct Link {
    token_hash: [u8; 32],
    issued_at: Instant,
    email: String,
    password: SecretString,
}

impl SignInLinks {
    /// Issues a link for a user and returns its path.
    #[must_use]
    pub fn issue(&self, email: &str, password: SecretString) -> String {
        let token = hex::encode(rand::random::<[u8; 16]>());
        let link =
            Link { token_hash: hash(&token), issued_at: Instant::now(), email: email.to_owned(), password };
        let mut links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if links.len() >= LINKS_MAX {
            links.remove(0);
        }
        links.push(link);
        format!("{PATH}/{token}")
    }

    /// Returns the email address and password of a link, which is void from then on.
    pub(crate) fn take(&self, token: &str) -> Option<(String, SecretString)> {
        let token_hash = hash(token);
        let mut links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|link| link.issued_at.elapsed() < VALID_FOR);
        let at = links.iter().position(|link| link.token_hash == token_hash)?;
        let Link { email, password, .. } = links.remove(at);
        Some((email, password))
    }
}

/// Returns whether the client is on this machine, and no proxy is between.
pub(crate) fn is_from_this_machine(request: &Parts) -> bool {
    let peer = request.extensions.get::<ConnectInfo<SocketAddr>>();
    peer.is_some_and(|ConnectInfo(peer)| peer.ip().to_canonical().is_loopback())
        && !["x-forwarded-for", "forwarded", "via"].iter().any(|name| request.headers.contains_key(*name))
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_used_once() {
        let links = SignInLinks::default();
        let path = links.issue("a@example.com", "secret".into());
        let token = path.strip_prefix("/welcome/").unwrap();
        assert!(links.take("other").is_none());
        assert_eq!(links.take(token).unwrap().0, "a@example.com");
        assert!(links.take(token).is_none());
        let first = links.issue("first@example.com", "secret".into());
        (0..LINKS_MAX).for_each(|_| drop(links.issue("b@example.com", "secret".into())));
        assert!(links.take(first.strip_prefix("/welcome/").unwrap()).is_none(), "there are few at a time");
    }
}
