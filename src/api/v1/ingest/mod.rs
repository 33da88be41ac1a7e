//! Ingest of webhooks.
//!
//! Almost every request takes one statement. Owners of API keys and routes of tokens are cached for a short time; the
//! event is prepared from the cache, and the statement that appends it checks that the credentials are still valid: an
//! API key that was revoked, a token that was replaced or a tenant that was suspended before the statement began is
//! refused. Everything else (a cache miss, an invalid payload, a refused append) is checked again from the database in
//! the order of the contract, so no refusal depends on the cache.

mod accept;
pub(crate) mod cache;
pub(crate) mod event_rates;
pub(crate) mod memory;
mod request;

use std::sync::Arc;

use aggregates::ids::TenantId;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use metrics::counter;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use self::cache::IngestCache;
use self::event_rates::EventRates;
use self::memory::PayloadMemory;
use self::request::IngestRequest;
use crate::api::commands::Commands;
use crate::api::http::admission::Admitted;
use crate::api::http::body::UnreadBody;
use crate::api::http::path::{self, Segments};
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::request_context::RequestContext;
use crate::api::http::time::Timestamp;
use crate::api::openapi::schemas::{EventStatusName, PayloadGiven};
use crate::api::storage_limit::StorageLimit;
use crate::event_store::Acceptances;
use crate::hops;
use crate::secrets::token;
use crate::secrets::vault::Vault;

/// Number of times that an event is prepared again because its route changed concurrently.
const ROUTE_CHANGES_MAX: u32 = 5;

/// Dependencies of the handler.
pub(crate) struct Ingest {
    pub(crate) commands: Commands,
    pub(crate) acceptances: Acceptances,
    pub(crate) cache: IngestCache,
    pub(crate) rates: EventRates,
    pub(crate) storage: StorageLimit,
    pub(crate) payload_bytes_max: usize,
    /// Maximum number of installations that a webhook may have passed through before.
    pub(crate) hops_max: u16,
    pub(crate) memory: PayloadMemory,
    pub(crate) vault: Vault,
}

/// An accepted event.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Accepted {
    event_id: Uuid,
    status: EventStatusName,
    accepted_at: Timestamp,
}

/// Ingest a webhook
///
/// The payload is any JSON object; its Content-Type is ignored. It is stored and delivered byte for byte; with the
/// token of a sender that has a mapping, the mapped object is delivered instead. The event is on disk before the
/// response is sent.
///
/// With `X-Idempotency-Key` a webhook is accepted once: a repeated request returns the existing event.
///
/// While more webhooks are sent than the service can accept and deliver, those of a tenant that has many in progress are
/// refused with status 429, after a second by default. Send them again after the time in `Retry-After`.
#[utoipa::path(post, path = "/api/v1/ingest/{tenantId}/{token}", tag = "Ingest", request_body = PayloadGiven,
    params(("X-Idempotency-Key" = Option<String>, Header, max_length = 255, pattern = r"^[ -~]*$",
        description = "Any text that identifies the webhook at its source. It is kept as long as the payload, and \
            recognised also after that. An empty one is ignored.")),
    responses((status = 202, body = Accepted, description = "The event was accepted and is on disk."),
        (status = 200, body = Accepted, description = "An event with this idempotency key was accepted before."),
        (status = 400), (status = 403), (status = 404), (status = 422), (status = 429), (status = 508)))]
pub(crate) async fn handler(
    State(ingest): State<Arc<Ingest>>,
    admitted: Admitted,
    context: RequestContext,
    segments: Segments,
    headers: HeaderMap,
    body: UnreadBody,
) -> Result<Response, Problem> {
    if ingest.acceptances.is_away() {
        return Err(Problem::database_away());
    }
    let [tenant_id, token] = segments.into_array()?;
    let tenant_id = path::uuid(&tenant_id).map(TenantId).ok_or_else(|| Problem::not_found("tenant"))?;
    let key_hash = request::api_key(&headers).map(token::hash).ok_or_else(api_key_refused)?;
    let holder = match ingest.cache.holder(&key_hash) {
        Some(holder) => holder,
        None => ingest.load_holder(&key_hash).await?,
    };
    admitted.belongs_to(holder.tenant_id)?;
    if !ingest.acceptances.admits(holder.tenant_id) {
        return Err(queue_is_long());
    }
    ingest.rates.count(holder.tenant_id)?;
    ingest.storage.check(holder.tenant_id)?;
    let hops = hops::of(&headers);
    if hops > ingest.hops_max {
        // A revoked API key is reported first.
        ingest.load_holder(&key_hash).await?;
        return Err(too_many_hops(hops, ingest.hops_max));
    }
    let memory = ingest.memory.of_request(holder.tenant_id);
    let payload = match body.admitted_bytes(ingest.payload_bytes_max, |bytes| memory.grow(bytes)).await {
        Ok(payload) => payload,
        Err(problem) => {
            // A revoked API key or a suspended tenant is reported first, even if the body is too large.
            ingest.load_holder(&key_hash).await?;
            return Err(problem);
        }
    };
    let idempotency_key = request::idempotency_key(&headers);
    let memory = Arc::new(memory);
    let request =
        IngestRequest { tenant_id, token, key_hash, idempotency_key, payload, hops, memory, context };
    if let Some(response) = ingest.accept_from_cache(&request).await? {
        return Ok(response);
    }
    for _ in 0..ROUTE_CHANGES_MAX {
        if let Some(response) = ingest.accept(&request).await? {
            return Ok(response);
        }
    }
    Err(Problem::unavailable("the route of an ingest request keeps changing"))
}

fn queue_is_long() -> Problem {
    counter!("hooksentry_http_refused_total", "limit" => "ingest_delay").increment(1);
    Problem::share_used(
        "The webhooks of this tenant wait longer for their commits than HOOKSENTRY_INGEST_DELAY allows, and it has its \
         share of HOOKSENTRY_INGEST_WAITING. Try again after the time in `Retry-After`.",
    )
}

fn too_many_hops(hops: u16, hops_max: u16) -> Problem {
    counter!("hooksentry_webhook_loops_total").increment(1);
    Problem::new(
        Kind::LoopDetected,
        format!(
            "The webhook has passed through {hops} installations of HookSentry, as `CDN-Loop` says; at most {hops_max} \
             are allowed. Check whether its destination leads back to this API."
        ),
    )
}

fn api_key_refused() -> Problem {
    Problem::new(
        Kind::ApiKeyRefused,
        "`X-Api-Key` must be an API key of the tenant. It is missing, unknown or was revoked.",
    )
}
