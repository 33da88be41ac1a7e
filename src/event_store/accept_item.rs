//! A webhook to accept, with its payload, and the credentials and the route that must still be valid when it is stored.

use std::any::Any;
use std::sync::Arc;

use aggregates::ids::{DestinationId, TenantId, WebhookEventId};
use aggregates::sealed::TokenHash;
use aggregates::webhook_event::{Acceptance, WebhookEventFact};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use projections::LogPosition;

use super::accept_queue::Waiting;
use super::accepted_events::AcceptedEvent;
use super::claimed_payload::{ClaimedEvent, ClaimedPayload};
use super::first_attempts::NewEvent;
use super::metadata::Metadata;
use crate::secrets::salt::Salt;

/// A webhook event to accept.
#[derive(Clone, Debug)]
pub struct AcceptItem {
    pub(super) id: WebhookEventId,
    pub(super) tenant_id: TenantId,
    destination_id: DestinationId,
    at: DateTime<Utc>,
    key_hash: TokenHash,
    token_hash: TokenHash,
    route_version: i64,
    pub(super) fact: String,
    pub(super) metadata: String,
    pub(super) delivered: Bytes,
    pub(super) received: Option<Bytes>,
    pub(super) salt: Salt,
    pub(super) idempotency_key: Option<String>,
    pub(super) hops: i16,
    /// Released with the item.
    _held: Option<Arc<dyn Any + Send + Sync>>,
    _waiting: Option<Arc<Waiting>>,
}

/// Credentials and route of an ingest request, which must still be valid when the event is stored.
#[derive(Clone, Debug)]
pub struct IngestCredentials {
    /// Hash of the API key.
    pub key_hash: TokenHash,
    /// Hash of the ingest token.
    pub token_hash: TokenHash,
    /// Version of the route that the caller looked up.
    pub route_version: i64,
}

/// Payload of a webhook event, as it is stored.
pub struct AcceptedPayload {
    pub delivered: Bytes,
    /// `None` if it is the delivered one.
    pub received: Option<Bytes>,
    /// Key of the commitments that the fact has.
    pub salt: Salt,
    /// Key that the id of the event follows from.
    pub idempotency_key: Option<String>,
}

impl AcceptItem {
    /// Returns an event that was sent with `credentials`.
    ///
    /// # Errors
    /// When the fact or the metadata cannot be written as JSON.
    pub fn new(
        id: WebhookEventId,
        credentials: IngestCredentials,
        acceptance: Acceptance,
        metadata: &Metadata,
        payload: AcceptedPayload,
    ) -> Result<Self, serde_json::Error> {
        Ok(Self {
            id,
            tenant_id: acceptance.tenant_id,
            destination_id: acceptance.destination_id,
            at: acceptance.at,
            key_hash: credentials.key_hash,
            token_hash: credentials.token_hash,
            route_version: credentials.route_version,
            fact: serde_json::to_string(&WebhookEventFact::EventAccepted(acceptance))?,
            metadata: serde_json::to_string(metadata)?,
            delivered: payload.delivered,
            received: payload.received,
            salt: payload.salt,
            idempotency_key: payload.idempotency_key,
            hops: 0,
            _held: None,
            _waiting: None,
        })
    }

    /// Stores that the webhook passed through so many installations before this one.
    #[must_use]
    pub fn after_hops(self, hops: u16) -> Self {
        Self { hops: i16::try_from(hops).unwrap_or(i16::MAX), ..self }
    }

    pub(super) fn accepted_at(&self, position: LogPosition) -> AcceptedEvent {
        AcceptedEvent {
            position,
            event_id: self.id,
            tenant_id: self.tenant_id,
            destination_id: self.destination_id,
            at: self.at,
        }
    }

    pub(super) fn new_event(&self) -> NewEvent {
        let (tenant_id, destination_id) = (self.tenant_id, self.destination_id);
        NewEvent { event_id: self.id, tenant_id, destination_id }
    }

    /// Returns what is judged once for all events that have it in common: tenant, hashes of API key and ingest token,
    /// version of the route.
    pub(super) fn credentials(&self) -> (TenantId, &str, &str, i64) {
        (self.tenant_id, &self.key_hash.0, &self.token_hash.0, self.route_version)
    }

    pub(super) fn claimed_event(&self) -> ClaimedEvent {
        ClaimedEvent { event_id: self.id, tenant_id: self.tenant_id }
    }

    pub(super) fn claimed_payload(&self) -> ClaimedPayload {
        ClaimedPayload {
            // A copy: the bytes may be a part of a larger buffer of the connection.
            bytes: Bytes::copy_from_slice(&self.delivered),
            hops: u16::try_from(self.hops).unwrap_or_default(),
        }
    }

    /// Keeps `resource` until the item is committed or refused, even if the caller stops waiting.
    #[must_use]
    pub fn holding(self, resource: Arc<dyn Any + Send + Sync>) -> Self {
        Self { _held: Some(resource), ..self }
    }

    /// Counts the item as one that waits, until it is committed or refused, even if the caller stops waiting.
    pub(super) fn counted(self, waiting: Waiting) -> Self {
        Self { _waiting: Some(Arc::new(waiting)), ..self }
    }
}
