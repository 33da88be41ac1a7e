//! Statistics of deliveries.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use uuid::Uuid;

use super::Client;
use super::destinations::DESTINATIONS_MAX;
use super::problem::ApiError;
use crate::web::query::url;

/// Statistics of a time range.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Stats {
    /// Events that wait for an attempt now.
    pub(crate) waiting: u64,
    pub(crate) total: Counts,
    /// Hours or days, oldest first.
    pub(crate) points: Vec<Point>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Point {
    pub(crate) starts_at: DateTime<Utc>,
    #[serde(flatten)]
    pub(crate) counts: Counts,
}

/// Counts by the time of what is counted.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Counts {
    pub(crate) accepted: u64,
    pub(crate) succeeded: u64,
    pub(crate) failed_attempts: u64,
    pub(crate) critical_failures: u64,
    /// Median time to deliver; `None` without deliveries.
    pub(crate) p50_time_to_deliver_ms: Option<u64>,
    pub(crate) p95_time_to_deliver_ms: Option<u64>,
}

/// Counts of one destination within an hour.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HourlyCounts {
    pub(crate) starts_at: DateTime<Utc>,
    pub(crate) succeeded: u64,
    pub(crate) failed_attempts: u64,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<OfDestination>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfDestination {
    destination_id: Uuid,
    points: Vec<HourlyCounts>,
}

impl Client {
    /// Returns the statistics since a time, by `hour` or `day`.
    pub(crate) async fn stats(&self, from: DateTime<Utc>, interval: &str) -> Result<Stats, ApiError> {
        self.stats_of(from, interval, None).await
    }

    /// Returns the statistics by hour of those destinations that [`destinations`](Self::destinations) returns, without
    /// hours in which nothing happened.
    pub(crate) async fn stats_by_destination(
        &self,
        from: DateTime<Utc>,
    ) -> Result<HashMap<Uuid, Vec<HourlyCounts>>, ApiError> {
        let from = from.format("%Y-%m-%dT%H:%M:%SZ").to_string();
        let items = DESTINATIONS_MAX.to_string();
        let page: Page =
            self.get(&url("/stats/destinations", &[("From", Some(&from)), ("Qt", Some(&items))])).await?;
        Ok(page.items.into_iter().map(|of| (of.destination_id, of.points)).collect())
    }

    /// Returns those of one destination.
    pub(crate) async fn stats_of(
        &self,
        from: DateTime<Utc>,
        interval: &str,
        destination: Option<Uuid>,
    ) -> Result<Stats, ApiError> {
        let from = from.format("%Y-%m-%dT%H:%M:%SZ").to_string();
        let destination = destination.map(|id| id.to_string());
        let parameters = [
            ("From", Some(from.as_str())),
            ("Interval", Some(interval)),
            ("DestinationId", destination.as_deref()),
        ];
        self.get(&url("/stats", &parameters)).await
    }
}
