//! Sessions.

use axum::http::Method;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::Client;
use super::problem::ApiError;

/// Tokens of a session.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Tokens {
    pub(crate) access_token: SecretString,
    pub(crate) refresh_token: SecretString,
}

/// What a user signs in with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Credentials<'a> {
    pub(crate) email: &'a str,
    pub(crate) password: &'a SecretString,
    pub(crate) code: Option<Code<'a>>,
}

/// Second factor.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Code<'a> {
    /// Code of the authenticator app.
    Totp(&'a str),
    /// Recovery code.
    Recovery(&'a str),
}

impl<'a> Code<'a> {
    /// Reads a code: one of the app has six digits, everything else is a recovery code.
    pub(crate) fn typed(text: &'a str) -> Self {
        let is_totp = text.len() == 6 && text.bytes().all(|byte| byte.is_ascii_digit());
        if is_totp { Self::Totp(text) } else { Self::Recovery(text) }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LoginBody<'a> {
    email: &'a str,
    password: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    totp_code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery_code: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RefreshBody<'a> {
    refresh_token: &'a str,
}

impl Client {
    pub(crate) async fn log_in(&self, credentials: Credentials<'_>) -> Result<Tokens, ApiError> {
        let body = LoginBody {
            email: credentials.email,
            password: credentials.password.expose_secret(),
            totp_code: match credentials.code {
                Some(Code::Totp(code)) => Some(code),
                _ => None,
            },
            recovery_code: match credentials.code {
                Some(Code::Recovery(code)) => Some(code),
                _ => None,
            },
        };
        self.post("/auth/login", &body).await
    }

    pub(crate) async fn refresh(&self, token: &SecretString) -> Result<Tokens, ApiError> {
        self.post("/auth/refresh", &RefreshBody { refresh_token: token.expose_secret() }).await
    }

    pub(crate) async fn log_out(&self, token: &SecretString) -> Result<(), ApiError> {
        let body = RefreshBody { refresh_token: token.expose_secret() };
        self.act(Method::POST, "/auth/logout", &body).await
    }
}
