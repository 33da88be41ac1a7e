//! Bulk actions: many events are replayed or cancelled.

use std::collections::BTreeMap;

use axum::http::Method;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Client;
use super::destinations::Number;
use super::events::Selection;
use super::problem::ApiError;

/// Bulk actions that the list shows.
pub(crate) const LISTED_MAX: usize = 50;

/// A bulk action, or what one would do.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BulkAction {
    /// `None` after a dry run.
    pub(crate) id: Option<Uuid>,
    /// `Replay` or `Cancel`.
    pub(crate) action: String,
    /// Code of the state; `None` after a dry run.
    pub(crate) state: Option<String>,
    /// Terms by their names in the API, such as `destinationUrlId`.
    pub(crate) filter: BTreeMap<String, String>,
    pub(crate) rate_per_second: u32,
    pub(crate) requested_by: Uuid,
    pub(crate) requested_at: DateTime<Utc>,
    pub(crate) events: u64,
    pub(crate) events_is_lower_bound: bool,
    pub(crate) examined: u64,
    pub(crate) done: u64,
    pub(crate) refused: Refused,
    pub(crate) ended_at: Option<DateTime<Utc>>,
}

/// Numbers of events that could not be replayed or cancelled.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Refused {
    pub(crate) not_in_critical_failure: u64,
    pub(crate) payload_is_erased: u64,
    pub(crate) not_waiting: u64,
    pub(crate) attempt_in_progress: u64,
}

/// A request of a bulk action.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    action: &'a str,
    filter: BTreeMap<&'static str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_per_second: Option<Number<'a>>,
    dry_run: bool,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<BulkAction>,
}

impl Client {
    /// Returns what a bulk action would do, without requesting it.
    pub(crate) async fn try_bulk_action(
        &self,
        action: &str,
        selection: &Selection,
    ) -> Result<BulkAction, ApiError> {
        self.post_bulk_action(action, selection, None, true).await
    }

    /// Requests a bulk action at a rate as it was typed.
    pub(crate) async fn request_bulk_action(
        &self,
        action: &str,
        selection: &Selection,
        rate: Option<&str>,
    ) -> Result<BulkAction, ApiError> {
        self.post_bulk_action(action, selection, rate, false).await
    }

    async fn post_bulk_action(
        &self,
        action: &str,
        Selection(terms): &Selection,
        rate: Option<&str>,
        dry_run: bool,
    ) -> Result<BulkAction, ApiError> {
        let filter = terms.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let rate_per_second = rate.map(Number::typed);
        self.post("/bulk-actions", &Request { action, filter, rate_per_second, dry_run }).await
    }

    /// Returns the latest bulk actions, the newest first.
    pub(crate) async fn bulk_actions(&self) -> Result<Vec<BulkAction>, ApiError> {
        let page: Page = self.get(&format!("/bulk-actions?Qt={LISTED_MAX}")).await?;
        Ok(page.items)
    }

    pub(crate) async fn bulk_action(&self, id: Uuid) -> Result<BulkAction, ApiError> {
        self.get(&format!("/bulk-actions/{id}")).await
    }

    /// Sends `pause`, `resume` or `cancel` to a bulk action.
    pub(crate) async fn change_bulk_action(&self, id: Uuid, change: &str) -> Result<(), ApiError> {
        self.act(Method::POST, &format!("/bulk-actions/{id}/{change}"), &()).await
    }
}
