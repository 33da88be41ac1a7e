//! Claims of an access token, for what pages show.
//!
//! The signature is not checked: the API checks it with every call. A user who changes the cookie sees other words, and
//! no other data.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use uuid::Uuid;

/// Claims of an access token.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Claims {
    #[serde(rename = "sub")]
    pub(crate) user_id: Uuid,
    #[serde(rename = "sid")]
    pub(crate) session_id: Uuid,
    pub(crate) tenant_id: Uuid,
    pub(crate) email: String,
    pub(crate) role: Role,
    /// Seconds since 1970.
    #[serde(rename = "exp")]
    pub(crate) expires_at: i64,
}

/// Role at the time of the last refresh. The API decides by the current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(crate) enum Role {
    Viewer,
    Developer,
    Admin,
    Owner,
}

impl Claims {
    pub(crate) fn read(token: &SecretString) -> Option<Self> {
        let payload = token.expose_secret().split('.').nth(1)?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
    }
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Viewer => "Viewer",
            Self::Developer => "Developer",
            Self::Admin => "Admin",
            Self::Owner => "Owner",
        }
    }
}
