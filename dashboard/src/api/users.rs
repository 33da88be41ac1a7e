//! Users of the tenant.

use axum::http::Method;
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Client;
use super::events::Entries;
use super::problem::ApiError;

/// A user.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct User {
    pub(crate) id: Uuid,
    pub(crate) email: String,
    pub(crate) status: String,
    pub(crate) role: String,
    pub(crate) second_factor_enabled: bool,
    pub(crate) created_at: DateTime<Utc>,
}

/// Changes of a user; `None` keeps what is set.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UserChange<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PasswordBody<'a> {
    password: &'a str,
    current_password: &'a str,
}

impl Client {
    /// Returns the first users, by email address.
    pub(crate) async fn users(&self) -> Result<Entries<User>, ApiError> {
        self.get("/users?Qt=200&CpOrd=email").await
    }

    pub(crate) async fn user(&self, id: Uuid) -> Result<User, ApiError> {
        self.get(&format!("/users/{id}")).await
    }

    pub(crate) async fn change_user(&self, id: Uuid, change: UserChange<'_>) -> Result<(), ApiError> {
        self.act(Method::PATCH, &format!("/users/{id}"), &change).await
    }

    /// Changes the password of a user and ends the user's sessions.
    pub(crate) async fn change_password(
        &self,
        id: Uuid,
        password: &SecretString,
        current: &SecretString,
    ) -> Result<(), ApiError> {
        let (password, current_password) = (password.expose_secret(), current.expose_secret());
        self.act(Method::PATCH, &format!("/users/{id}"), &PasswordBody { password, current_password }).await
    }

    pub(crate) async fn delete_user(&self, id: Uuid) -> Result<(), ApiError> {
        self.act(Method::DELETE, &format!("/users/{id}"), &()).await
    }

    pub(crate) async fn remove_second_factor(&self, id: Uuid) -> Result<(), ApiError> {
        self.act(Method::DELETE, &format!("/users/{id}/second-factor"), &()).await
    }
}
