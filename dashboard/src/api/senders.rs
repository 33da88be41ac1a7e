//! Senders: named sources of a destination, and their mappings.

use axum::http::Method;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::Client;
use super::destinations::{NewToken, Registered};
use super::events::{Event, EventPage};
use super::problem::ApiError;

/// A sender.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sender {
    pub(crate) id: Uuid,
    pub(crate) destination_id: Uuid,
    pub(crate) label: Option<String>,
    pub(crate) has_mapping: bool,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
}

/// What would be delivered for a payload.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Preview {
    pub(crate) delivered: Box<RawValue>,
    /// Keys that were left out because the payload has no value for them.
    pub(crate) missing: Vec<String>,
    /// Reason why the mapping could not be applied.
    pub(crate) failure: Option<String>,
}

#[derive(Serialize)]
struct NewSender<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
}

#[derive(Serialize)]
struct PreviewRequest<'a> {
    payload: &'a RawValue,
    mapping: &'a RawValue,
}

#[derive(Deserialize)]
struct Mapping {
    mapping: Box<RawValue>,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Sender>,
}

impl Client {
    /// Returns the first senders of a destination, the newest first.
    pub(crate) async fn senders(&self, destination: Uuid) -> Result<Vec<Sender>, ApiError> {
        let path = format!("/destinations/{destination}/senders?Qt=200&CpOrd=createdAt&TpOrd=desc");
        let page: Page = self.get(&path).await?;
        Ok(page.items)
    }

    pub(crate) async fn register_sender(
        &self,
        destination: Uuid,
        label: Option<&str>,
    ) -> Result<Registered, ApiError> {
        self.post(&format!("/destinations/{destination}/senders"), &NewSender { label }).await
    }

    pub(crate) async fn sender(&self, id: Uuid) -> Result<Sender, ApiError> {
        self.get(&format!("/senders/{id}")).await
    }

    pub(crate) async fn delete_sender(&self, id: Uuid) -> Result<(), ApiError> {
        self.act(Method::DELETE, &format!("/senders/{id}"), &()).await
    }

    /// Replaces the ingest token of a sender and returns the new one.
    pub(crate) async fn replace_sender_token(&self, id: Uuid) -> Result<String, ApiError> {
        let token: NewToken = self.post(&format!("/senders/{id}/ingest-token"), &()).await?;
        Ok(token.ingest_token)
    }

    /// Returns the latest events that came through a sender.
    pub(crate) async fn events_of_sender(&self, id: Uuid, items: u32) -> Result<Vec<Event>, ApiError> {
        let page: EventPage = self.get(&format!("/events?SenderId={id}&Qt={items}")).await?;
        Ok(page.items)
    }

    /// Returns the text of a sender's mapping.
    pub(crate) async fn mapping(&self, id: Uuid) -> Result<Box<RawValue>, ApiError> {
        let Mapping { mapping } = self.get(&format!("/senders/{id}/mapping")).await?;
        Ok(mapping)
    }

    /// Sets the mapping of a sender, in place of the one that is set, if any.
    pub(crate) async fn replace_mapping(&self, id: Uuid, mapping: &RawValue) -> Result<(), ApiError> {
        self.send_text(Method::PUT, &format!("/senders/{id}/mapping"), mapping.get()).await
    }

    pub(crate) async fn remove_mapping(&self, id: Uuid) -> Result<(), ApiError> {
        self.act(Method::DELETE, &format!("/senders/{id}/mapping"), &()).await
    }

    /// Tries a mapping on a payload. Nothing is stored.
    pub(crate) async fn preview_mapping(
        &self,
        id: Uuid,
        payload: &RawValue,
        mapping: &RawValue,
    ) -> Result<Preview, ApiError> {
        self.post(&format!("/senders/{id}/mapping/preview"), &PreviewRequest { payload, mapping }).await
    }
}
