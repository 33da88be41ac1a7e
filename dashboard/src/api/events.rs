//! Webhook events.

use std::collections::BTreeMap;

use axum::http::Method;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::Client;
use super::problem::ApiError;
use super::tenant::ReasonBody;
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
    /// Code of the outcome of the last attempt that ended.
    pub(crate) last_outcome: Option<String>,
    /// HTTP status of the response to it.
    pub(crate) last_http_status: Option<u16>,
}

impl Event {
    pub(crate) fn may_be_replayed(&self) -> bool {
        self.status == "CriticalFailure" && self.payload.is_some()
    }

    pub(crate) fn may_be_cancelled(&self) -> bool {
        matches!(self.status.as_str(), "Pending" | "WaitingRetry")
    }
}

/// Erasure of a payload on request.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Erasure {
    pub(crate) at: DateTime<Utc>,
    pub(crate) reason: String,
}

/// A page of the list of events.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventPage {
    /// Matching events on all pages; in a search, on this one.
    pub(crate) total: u64,
    pub(crate) total_is_lower_bound: bool,
    /// How far a search of payloads got; `None`: none is searched.
    pub(crate) search: Option<SearchProgress>,
    /// Cursor of the next page; `None`: it is the last one.
    pub(crate) next: Option<String>,
    pub(crate) items: Vec<Event>,
}

/// How far a page of a search of payloads got.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SearchProgress {
    /// Events that were examined for this page.
    pub(crate) examined: u64,
    /// Time of acceptance of the last one; `None`: there was none.
    pub(crate) through: Option<DateTime<Utc>>,
    /// Beginning of the time range.
    pub(crate) from: DateTime<Utc>,
    pub(crate) is_complete: bool,
}

/// Numbers of the newest events of a list, by the values of some fields.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Facets {
    pub(crate) examined: u64,
    /// Whether these are all events of the list.
    pub(crate) is_complete: bool,
    pub(crate) statuses: Vec<Facet<String>>,
    pub(crate) outcomes: Vec<Facet<String>>,
    pub(crate) http_statuses: Vec<Facet<u16>>,
    pub(crate) destinations: Vec<Facet<Uuid>>,
    pub(crate) senders: Vec<Facet<Uuid>>,
}

/// A value, and how many events have it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Facet<T> {
    pub(crate) value: T,
    pub(crate) count: u64,
}

/// Parameters of the API that select events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selection(pub(crate) Vec<(&'static str, String)>);

/// Filter, order and place of a page of the list.
#[derive(Clone, Debug, Default)]
pub(crate) struct EventQuery {
    pub(crate) selection: Selection,
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
    /// `None` through a portal link.
    pub(crate) worker: Option<String>,
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

/// Position of a fact in the log.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Position {
    /// Facts that were appended together have the same.
    pub(crate) transaction_id: u64,
}

/// A fact of an event.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Fact {
    pub(crate) position: Position,
    pub(crate) version: u64,
    pub(crate) time: DateTime<Utc>,
    #[serde(rename = "type")]
    pub(crate) name: String,
    pub(crate) data: Box<RawValue>,
    /// `user:<id>`, `api-key:<id>`, `portal-link:<id>` or `role:<name>`.
    pub(crate) actor: Option<String>,
    pub(crate) request_id: Option<String>,
}

/// How an event was accepted, as far as the fact is known here.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Acceptance {
    /// Result of the sender's mapping; `None` without one.
    pub(crate) mapping: Option<IgnoredAny>,
}

/// Part of a list.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Entries<T> {
    /// Entries of the whole list.
    pub(crate) total: usize,
    pub(crate) items: Vec<T>,
}

impl Selection {
    fn parameters(&self) -> Vec<(&str, Option<&str>)> {
        self.0.iter().map(|(name, value)| (*name, Some(value.as_str()))).collect()
    }
}

impl EventQuery {
    /// Returns the parameters of the API, without the number of items.
    pub(crate) fn parameters(&self) -> Vec<(&str, Option<&str>)> {
        let mut parameters = self.selection.parameters();
        parameters.push(("After", self.after.as_deref()));
        parameters.push(("TpOrd", self.oldest_first.then_some("asc")));
        parameters
    }
}

impl Client {
    pub(crate) async fn events(&self, query: &EventQuery) -> Result<EventPage, ApiError> {
        let items = query.page_items.to_string();
        let mut parameters = query.parameters();
        parameters.push(("Qt", Some(&items)));
        self.get(&url("/events", &parameters)).await
    }

    pub(crate) async fn event_facets(&self, selection: &Selection) -> Result<Facets, ApiError> {
        self.get(&url("/events/facets", &selection.parameters())).await
    }

    pub(crate) async fn event(&self, id: Uuid) -> Result<Event, ApiError> {
        self.get(&format!("/events/{id}")).await
    }

    /// Returns an event as it was at a time.
    pub(crate) async fn event_as_of(&self, id: Uuid, time: DateTime<Utc>) -> Result<Event, ApiError> {
        let time = time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
        self.get(&url(&format!("/events/{id}"), &[("AsOf", Some(&time))])).await
    }

    /// Returns the latest attempts of an event, oldest first.
    pub(crate) async fn attempts(&self, id: Uuid) -> Result<Entries<Attempt>, ApiError> {
        self.latest(&format!("/events/{id}/attempts")).await
    }

    /// Returns the latest facts of an event, oldest first.
    pub(crate) async fn history(&self, id: Uuid) -> Result<Entries<Fact>, ApiError> {
        self.latest(&format!("/events/{id}/history")).await
    }

    /// Returns how an event was accepted.
    pub(crate) async fn acceptance(&self, id: Uuid) -> Result<Acceptance, ApiError> {
        let first: Entries<Fact> = self.get(&format!("/events/{id}/history?Qt=1&TpOrd=asc")).await?;
        let data = first.items.first().map_or("{}", |fact| fact.data.get());
        serde_json::from_str(data).map_err(ApiError::unreadable)
    }

    pub(crate) async fn replay(&self, id: Uuid) -> Result<(), ApiError> {
        self.act(Method::POST, &format!("/events/{id}/replay"), &()).await
    }

    pub(crate) async fn cancel(&self, id: Uuid) -> Result<(), ApiError> {
        self.act(Method::POST, &format!("/events/{id}/cancel"), &()).await
    }

    /// Erases the payload of an event permanently.
    pub(crate) async fn erase_payload(&self, id: Uuid, reason: &str) -> Result<(), ApiError> {
        self.act(Method::POST, &format!("/events/{id}/erase"), &ReasonBody { reason }).await
    }

    async fn latest<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<Entries<T>, ApiError> {
        let mut entries: Entries<T> = self.get(&format!("{path}?Qt={ENTRIES_MAX}&TpOrd=desc")).await?;
        entries.items.reverse();
        Ok(entries)
    }
}
