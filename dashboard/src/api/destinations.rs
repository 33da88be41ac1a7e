//! Destinations.

use serde::Deserialize;
use uuid::Uuid;

use super::Client;
use super::problem::ApiError;

/// A destination.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Destination {
    pub(crate) id: Uuid,
    pub(crate) url: String,
    /// Code of the status, such as `Suspended`.
    pub(crate) status: String,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Destination>,
}

impl Client {
    /// Returns the first destinations, the newest first.
    pub(crate) async fn destinations(&self) -> Result<Vec<Destination>, ApiError> {
        let page: Page = self.get("/destinations?Qt=200").await?;
        Ok(page.items)
    }

    pub(crate) async fn destination(&self, id: Uuid) -> Result<Destination, ApiError> {
        self.get(&format!("/destinations/{id}")).await
    }
}
