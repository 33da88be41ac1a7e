//! Tokens of forms, which pages of other websites cannot know.
//!
//! The token of a user follows from the session's id, so it stays valid when the tokens of the session change. That of
//! a visitor follows from a random cookie.

use std::sync::Arc;

use axum::http::HeaderValue;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice};
use sha2::Sha256;
use uuid::Uuid;

use super::Visitor;
use super::cookies::Cookies;

/// Purposes in the tokens' derivation.
const OF_SESSION: &str = "form of session ";
const OF_VISITOR: &str = "form of visitor ";

/// Keys of the tokens. The first one issues, all of them check.
#[derive(Clone)]
pub(crate) struct FormKeys(Arc<[SecretSlice<u8>]>);

impl FormKeys {
    pub(crate) fn new(keys: &[SecretSlice<u8>]) -> Self {
        Self(keys.into())
    }

    /// Returns the token of a session's forms.
    pub(super) fn of_session(&self, id: Uuid) -> String {
        self.issue(&format!("{OF_SESSION}{id}"))
    }

    /// Returns the token of a visitor's forms, and the cookie that it needs.
    pub(super) fn of_visitor(&self, cookies: &mut Cookies) -> (String, Option<HeaderValue>) {
        if let Some(value) = cookies.visitor() {
            return (self.issue(&format!("{OF_VISITOR}{value}")), None);
        }
        let value = hex::encode(rand::random::<[u8; 16]>());
        let cookie = cookies.visit(&value);
        (self.issue(&format!("{OF_VISITOR}{value}")), Some(cookie))
    }

    /// Returns whether a form has the token of its visitor.
    pub(crate) fn accept(&self, visitor: &Visitor, token: &str) -> bool {
        // The page may have been opened before the sign-in, in another tab.
        let of_session =
            visitor.signed_in.as_ref().map(|user| format!("{OF_SESSION}{}", user.claims.session_id));
        let of_visitor = visitor.cookies.visitor().map(|value| format!("{OF_VISITOR}{value}"));
        let Ok(tag) = URL_SAFE_NO_PAD.decode(token) else { return false };
        let is_of = |subject: &String| self.0.iter().any(|key| mac(key, subject).verify_slice(&tag).is_ok());
        of_session.iter().chain(&of_visitor).any(is_of)
    }

    fn issue(&self, subject: &str) -> String {
        let tag = self.0.first().map(|key| mac(key, subject).finalize().into_bytes());
        tag.map(|tag| URL_SAFE_NO_PAD.encode(tag)).unwrap_or_default()
    }
}

fn mac(key: &SecretSlice<u8>, subject: &str) -> Hmac<Sha256> {
    Hmac::new_from_slice(key.expose_secret()).expect("HMAC takes keys of any length").chain_update(subject)
}
