//! Registration of tenants and users.

use axum::http::Method;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use super::problem::ApiError;
use super::{Client, segment};

/// A tenant to register, with its first user.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewTenant<'a> {
    pub(crate) name: &'a str,
    pub(crate) email: &'a str,
    pub(crate) password: &'a SecretString,
    /// Invitation of the operator.
    pub(crate) invitation: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TenantBody<'a> {
    name: &'a str,
    owner_email: &'a str,
    owner_password: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    invitation: Option<&'a str>,
}

#[derive(Serialize)]
struct UserBody<'a> {
    email: &'a str,
    password: &'a str,
}

impl Client {
    pub(crate) async fn register_tenant(&self, new: NewTenant<'_>) -> Result<(), ApiError> {
        let NewTenant { name, email, password, invitation } = new;
        let owner_password = password.expose_secret();
        let body = TenantBody { name, owner_email: email, owner_password, invitation };
        self.act(Method::POST, "/tenants", &body).await
    }

    /// Registers a user with the token of an invite.
    pub(crate) async fn accept_invite(
        &self,
        token: &str,
        email: &str,
        password: &SecretString,
    ) -> Result<(), ApiError> {
        let path = format!("/invites/{}/register", segment(token));
        self.act(Method::POST, &path, &UserBody { email, password: password.expose_secret() }).await
    }
}
