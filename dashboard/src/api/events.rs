//! Webhook events.

use std::collections::BTreeMap;

use axum::http::Method;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::Client;
use super::problem::ApiError;
use crate::web::query::url;

/// Facts and attempts that a page of an event shows.
pub(crate) const ENTRIES_MAX: usize = 200;

/// A webhook event.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Event {
    pub(crate) id: Uuid,
    #[serde(rename = "destinationUrlId")]
    pub(crate) destination_id: Uuid,
    /// `None` once it was erased.
    pub(crate) payload: Option<String>,
    pub(crate) erasure: Option<Erasure>,
    /// Code of the status, such as `WaitingRetry`.
    pub(crate) status: String,
    pub(crate) idempotency_key: Option<String>,
    #[serde(rename = "currentRetryCount")]
    pub(crate) failed_attempts: u32,
    pub(crate) next_attempt_at: Option<DateTime<Utc>>,
    pub(crate) accepted_at: DateTime<Utc>,
    pub(crate) delivered_at: Option<DateTime<Utc>>,
}

/// Erasure of a payload on request.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Erasure {
    pub(crate) at: DateTime<Utc>,
    pub(crate) reason: String,
}

/// A page of the list of events.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct EventPage {
    /// Matching events on all pages.
    pub(crate) total: u64,
    /// Cursor of the next page; `None`: it is the last one.
    pub(crate) next: Option<String>,
    pub(crate) items: Vec<Event>,
}

/// Filter, order and place of a page of the list, as the URL has them.
#[derive(Clone, Debug, Default)]
pub(crate) struct EventQuery {
    pub(crate) status: Option<String>,
    pub(crate) destination_id: Option<String>,
    pub(crate) from: Option<String>,
    pub(crate) to: Option<String>,
    /// Cursor of the page; `None`: the first one.
    pub(crate) after: Option<String>,
    pub(crate) oldest_first: bool,
    pub(crate) page_items: u32,
}

/// One attempt to deliver an event.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Attempt {
    pub(crate) attempt: u32,
    pub(crate) started_at: DateTime<Utc>,
    /// `None` while it is in progress.
    pub(crate) finished_at: Option<DateTime<Utc>>,
    /// Code of the outcome, such as `timeout`.
    pub(crate) outcome: Option<String>,
    pub(crate) http_status: Option<u16>,
    pub(crate) duration_ms: Option<u64>,
    pub(crate) response_headers: BTreeMap<String, String>,
    pub(crate) response_excerpt: Option<String>,
    pub(crate) address: Option<String>,
    pub(crate) detail: Option<String>,
    pub(crate) worker: String,
    pub(crate) configuration: Configuration,
}

/// Settings in force at an attempt.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Configuration {
    pub(crate) url: String,
    pub(crate) auth_type: Option<String>,
    pub(crate) server_rate_limit: u32,
    pub(crate) webhook_secret_fingerprints: Vec<String>,
}

/// A fact of an event.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Fact {
    pub(crate) version: u64,
    pub(crate) time: DateTime<Utc>,
    #[serde(rename = "type")]
    pub(crate) name: String,
    pub(crate) data: Box<RawValue>,
    /// `user:<id>`, `api-key:<id>` or `role:<name>`.
    pub(crate) actor: Option<String>,
    pub(crate) request_id: Option<String>,
}

/// Part of a list.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Entries<T> {
    /// Entries of the whole list.
    pub(crate) total: usize,
    pub(crate) items: Vec<T>,
}

impl Client {
    pub(crate) async fn events(&self, query: &EventQuery) -> Result<EventPage, ApiError> {
        let items = query.page_items.to_string();
        let parameters = [
            ("Status", query.status.as_deref()),
            ("DestinationUrlId", query.destination_id.as_deref()),
            ("From", query.from.as_deref()),
            ("To", query.to.as_deref()),
            ("After", query.after.as_deref()),
            ("TpOrd", query.oldest_first.then_some("asc")),
            ("Qt", Some(items.as_str())),
        ];
        self.get(&url("/events", &parameters)).await
    }

    /// Returns the latest attempts of an event, oldest first.
    pub(crate) async fn attempts(&self, id: Uuid) -> Result<Entries<Attempt>, ApiError> {
        self.latest(&format!("/events/{id}/attempts")).await
    }

    /// Returns the latest facts of an event, oldest first.
    pub(crate) async fn history(&self, id: Uuid) -> Result<Entries<Fact>, ApiError> {
        self.latest(&format!("/events/{id}/history")).await
    }

    pub(crate) async fn replay(&self, id: Uuid) -> Result<(), ApiError> {
        self.act(Method::POST, &format!("/events/{id}/replay"), &()).await
    }

    pub(crate) async fn cancel(&self, id: Uuid) -> Result<(), ApiError> {
        self.act(Method::POST, &format!("/events/{id}/cancel"), &()).await
    }

    async fn latest<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<Entries<T>, ApiError> {
        let mut entries: Entries<T> = self.get(&format!("{path}?Qt={ENTRIES_MAX}&TpOrd=desc")).await?;
        entries.items.reverse();
        Ok(entries)
    }
}
