//! Ingest: where webhooks come in.
//!
//! Almost every request is answered by one statement. What the API key and the token stand for is kept at
//! hand for a moment, the event is prepared with it, and the append decides whether it still holds: a key
//! that was revoked or a token that was replaced before the statement began opens nothing. Whatever comes
//! out differently (something is not at hand, the payload is bad, the append says no) is judged anew from
//! the database and in the order of the contract, so the answer never rests on what was kept.

pub(crate) mod cache;

use std::sync::Arc;

use aggregates::ids::{ApiKeyId, TenantId, WebhookEventId};
use aggregates::mapping::Mapping;
use aggregates::payload::check_payload;
use aggregates::sealed::TokenHash;
use aggregates::text::IDEMPOTENCY_KEY_CHARS_MAX;
use aggregates::webhook_event::{Acceptance, MappingResult, PayloadDigest};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use projections::{api_keys, ingest_routes, tenants, webhook_events};
use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::commands::Commands;
use crate::api::http::body::UnreadBody;
use crate::api::http::path::{self, Segments};
use crate::api::http::problem::{FieldErrors, Kind, Problem};
use crate::api::http::request_context::RequestContext;
use crate::api::http::time::Timestamp;
use crate::api::openapi::schemas::{EventStatusName, PayloadGiven};
use crate::api::v1::events::streams;
use crate::api::v1::ingest::cache::{IngestCache, Route};
use crate::event_store::group_commit::GroupCommit;
use crate::event_store::{AcceptBatch, AcceptItem, AcceptOutcome, Actor, IngestCredentials};
use crate::secrets::token::{self, TokenKind};
use crate::{clock, identifiers};

/// How often an event is prepared anew because its route changed under it.
const ROUTE_CHANGES_MAX: u32 = 5;

/// What accepting webhooks needs.
#[derive(Clone)]
pub(crate) struct Ingest {
    pub(crate) commands: Commands,
    pub(crate) acceptances: GroupCommit<AcceptBatch>,
    pub(crate) cache: IngestCache,
    pub(crate) payload_bytes_max: usize,
}

/// An event that was accepted, now or before.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Accepted {
    event_id: Uuid,
    status: EventStatusName,
    accepted_at: Timestamp,
}

/// A request to accept a webhook, as it came.
struct Incoming {
    tenant_id: TenantId,
    token: String,
    key_hash: TokenHash,
    idempotency_key: Result<Option<String>, &'static str>,
    payload: Bytes,
    context: RequestContext,
}

/// Accept a webhook.
///
/// The payload is any JSON object, whatever its Content-Type says; it is stored and delivered exactly as
/// it came, or, with the token of a sender that has a mapping, as the mapping reshapes it. When the answer
/// is sent, the event is on disk.
///
/// With `X-Idempotency-Key` a webhook is accepted once: a repetition is answered with the event that
/// exists.
#[utoipa::path(post, path = "/api/v1/ingest/{tenantId}/{token}", tag = "Ingest", request_body = PayloadGiven,
    params(("X-Idempotency-Key" = Option<String>, Header, max_length = 255, pattern = r"^[ -~]*$",
        description = "Whatever identifies the webhook at its source; empty means none.")),
    responses((status = 202, body = Accepted, description = "Accepted and on disk."),
        (status = 200, body = Accepted, description = "An event with this idempotency key was accepted before."),
        (status = 400), (status = 403), (status = 404), (status = 422)))]
pub(crate) async fn ingest(
    State(ingest): State<Ingest>,
    context: RequestContext,
    segments: Segments,
    headers: HeaderMap,
    body: UnreadBody,
) -> Result<Response, Problem> {
    let [tenant_id, token] = segments.of()?;
    let tenant_id = path::uuid(&tenant_id).map(TenantId).ok_or_else(|| Problem::not_found("tenant"))?;
    let key_hash = api_key(&headers).map(token::hash).ok_or_else(api_key_refused)?;
    if ingest.cache.holder(&key_hash).is_none() {
        ingest.holder(&key_hash).await?;
    }
    let payload = match body.bytes(ingest.payload_bytes_max).await {
        Ok(payload) => payload,
        Err(problem) => {
            // Whether the key is good comes first, even for who sends too much.
            ingest.holder(&key_hash).await?;
            return Err(problem);
        }
    };
    let idempotency_key = idempotency_key(&headers);
    let incoming = Incoming { tenant_id, token, key_hash, idempotency_key, payload, context };
    if let Some(answer) = ingest.accept_with_what_is_at_hand(&incoming).await? {
        return Ok(answer);
    }
    for _ in 0..ROUTE_CHANGES_MAX {
        if let Some(answer) = ingest.judge(&incoming).await? {
            return Ok(answer);
        }
    }
    Err(Problem::unavailable("the route of an ingest request changed again and again"))
}

impl Ingest {
    /// The quick way: `None` when it leads nowhere, and everything is to be judged in order.
    async fn accept_with_what_is_at_hand(&self, incoming: &Incoming) -> Result<Option<Response>, Problem> {
        let token_hash = token::hash(&incoming.token);
        let (Some(holder), Some(route)) =
            (self.cache.holder(&incoming.key_hash), self.cache.route(&token_hash))
        else {
            return Ok(None);
        };
        let Ok(key) = &incoming.idempotency_key else { return Ok(None) };
        let ours = holder.tenant_id == incoming.tenant_id && route.tenant_id == incoming.tenant_id;
        if !ours || !route.receives || check_payload(&incoming.payload).is_err() {
            return Ok(None);
        }
        let appended = self.append(incoming, holder.id, &token_hash, &route, key.as_deref()).await?;
        if appended.outcome == AcceptOutcome::RouteChanged {
            self.cache.forget(&incoming.key_hash, &token_hash);
        }
        Ok((appended.outcome == AcceptOutcome::Accepted).then(|| appended.answer()))
    }

    /// The whole way, in the contract's order of checks. `None`: the route changed under it.
    async fn judge(&self, incoming: &Incoming) -> Result<Option<Response>, Problem> {
        let holder = self.holder(&incoming.key_hash).await?;
        check_payload(&incoming.payload).map_err(|problem| {
            let errors = FieldErrors::of("body", problem.to_string());
            Problem::new(Kind::InvalidPayload, format!("The payload cannot be accepted: {problem}."))
                .with_errors(errors)
        })?;
        if holder.tenant_id != incoming.tenant_id {
            let mut connection = self.commands.pool().acquire().await?;
            return Err(match tenants::exists(&mut connection, incoming.tenant_id).await? {
                true => Problem::new(Kind::OtherTenant, "The API key belongs to another tenant."),
                false => Problem::not_found("tenant"),
            });
        }
        let idempotency_key = incoming
            .idempotency_key
            .as_ref()
            .map_err(|message| Problem::invalid(FieldErrors::of("X-Idempotency-Key", *message)))?;
        if let Some(key) = idempotency_key
            && let Some(repeated) = self.repeated(incoming.tenant_id, key).await?
        {
            return Ok(Some(repeated));
        }
        let (token_hash, route) = self.route(incoming).await?;
        let appended =
            self.append(incoming, holder.id, &token_hash, &route, idempotency_key.as_deref()).await?;
        match (appended.outcome, idempotency_key) {
            (AcceptOutcome::Accepted, _) => Ok(Some(appended.answer())),
            // A twin was quicker.
            (AcceptOutcome::Exists, Some(key)) => self.repeated(incoming.tenant_id, key).await,
            (AcceptOutcome::Exists, None) | (AcceptOutcome::RouteChanged, _) => Ok(None),
        }
    }

    /// Whoever presents an API key, from the database.
    async fn holder(&self, key_hash: &TokenHash) -> Result<api_keys::Holder, Problem> {
        let mut connection = self.commands.pool().acquire().await?;
        let holder = api_keys::by_hash(&mut connection, key_hash).await?.ok_or_else(api_key_refused)?;
        self.cache.keep_holder(key_hash, holder);
        Ok(holder)
    }

    /// What the token stands for, from the database.
    async fn route(&self, incoming: &Incoming) -> Result<(TokenHash, Arc<Route>), Problem> {
        let bad_token = |message: String| Problem::invalid(FieldErrors::of("token", message));
        crate::api::http::validation::token_text(&incoming.token).map_err(bad_token)?;
        let kinds = [TokenKind::DestinationIngest, TokenKind::SenderIngest];
        if !kinds.iter().any(|kind| incoming.token.starts_with(kind.prefix())) {
            return Err(bad_token("must begin with dst_ or sndr_".to_owned()));
        }
        let token_hash = token::hash(&incoming.token);
        let mut connection = self.commands.pool().acquire().await?;
        let found = ingest_routes::by_token(&mut connection, &token_hash).await?;
        drop(connection);
        let route = found.ok_or_else(|| Problem::new(Kind::NotFound, "There is no such ingest token."))?;
        if route.tenant_id != incoming.tenant_id {
            return Err(Problem::new(Kind::OtherTenant, "The ingest token belongs to another tenant."));
        }
        let route = Arc::new(Route::of(route));
        if !route.receives {
            let detail = "The destination is inactive or suspended: it takes no events now.";
            return Err(Problem::new(Kind::DestinationNotActive, detail));
        }
        self.cache.keep_route(&token_hash, Arc::clone(&route));
        Ok((token_hash, route))
    }

    /// The answer to a repetition of what was accepted before; `None` when nothing was.
    async fn repeated(&self, tenant_id: TenantId, key: &str) -> Result<Option<Response>, Problem> {
        let id = WebhookEventId::for_idempotency_key(tenant_id, key);
        let mut connection = self.commands.pool().acquire().await?;
        let standing = match webhook_events::summary(&mut connection, id).await? {
            Some(standing) => Some((standing.status, standing.accepted_at)),
            None => {
                let event = streams::read_before_row(&mut connection, id).await?;
                event.map(|event| (event.status, event.accepted_at))
            }
        };
        Ok(standing.map(|(status, accepted_at)| answer(StatusCode::OK, id, status.into(), accepted_at)))
    }

    async fn append(
        &self,
        incoming: &Incoming,
        api_key: ApiKeyId,
        token_hash: &TokenHash,
        route: &Route,
        idempotency_key: Option<&str>,
    ) -> Result<Appended, Problem> {
        let id = match idempotency_key {
            Some(key) => WebhookEventId::for_idempotency_key(incoming.tenant_id, key),
            None => identifiers::new_event_id(),
        };
        let received = &incoming.payload;
        let (delivered, mapping) = match &route.mapping {
            None => (received.clone(), None),
            Some(mapping) => map(mapping, received),
        };
        let reshaped = matches!(mapping, Some(MappingResult::Applied(_)));
        let at = clock::now();
        let acceptance = Acceptance {
            tenant_id: incoming.tenant_id,
            destination_id: route.destination_id,
            sender_id: route.sender_id,
            idempotency_key: idempotency_key.map(str::to_owned),
            payload: digest(&delivered),
            mapping,
            at,
        };
        let door = IngestCredentials {
            key_hash: incoming.key_hash.clone(),
            token_hash: token_hash.clone(),
            route_version: route.version,
        };
        let metadata = incoming.context.metadata(incoming.tenant_id, Actor::ApiKey(api_key));
        let received = reshaped.then(|| received.clone());
        let item = AcceptItem::new(id, door, acceptance, &metadata, delivered, received)?;
        Ok(Appended { outcome: self.acceptances.commit(item).await?, id, at })
    }
}

/// What became of an event that was handed to the log.
struct Appended {
    outcome: AcceptOutcome,
    id: WebhookEventId,
    at: DateTime<Utc>,
}

impl Appended {
    fn answer(&self) -> Response {
        answer(StatusCode::ACCEPTED, self.id, EventStatusName::Pending, self.at)
    }
}

fn answer(status: StatusCode, id: WebhookEventId, stands: EventStatusName, at: DateTime<Utc>) -> Response {
    let accepted = Accepted { event_id: id.0, status: stands, accepted_at: at.into() };
    (status, [(LOCATION, format!("/api/v1/events/{id}"))], Json(accepted)).into_response()
}

/// What a sender's mapping makes of what it sent. One that fails delivers it as it came, and says why.
fn map(mapping: &Result<Mapping, String>, received: &Bytes) -> (Bytes, Option<MappingResult>) {
    let applied = match mapping {
        Ok(mapping) => mapping.apply(received).map_err(|failure| failure.to_string()),
        Err(problem) => Err(problem.clone()),
    };
    match applied {
        Ok(applied) => (applied.bytes.into(), Some(MappingResult::Applied(digest(received)))),
        Err(reason) => (received.clone(), Some(MappingResult::Failed(reason))),
    }
}

fn digest(bytes: &Bytes) -> PayloadDigest {
    PayloadDigest { sha256: hex::encode(Sha256::digest(bytes)), bytes: bytes.len() as u64 }
}

/// The one `X-Api-Key`.
fn api_key(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all("x-api-key").iter();
    let key = values.next()?.to_str().ok()?;
    (values.next().is_none() && !key.is_empty() && key.len() <= token::TOKEN_CHARS_MAX).then_some(key)
}

/// The `X-Idempotency-Key`, if there is one. An empty one is none.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, &'static str> {
    let mut values = headers.get_all("x-idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err("must not be given more than once");
    }
    let key = std::str::from_utf8(value.as_bytes()).map_err(|_| "must be text")?;
    if key.chars().any(char::is_control) {
        return Err("must not contain control characters");
    }
    if key.chars().count() > IDEMPOTENCY_KEY_CHARS_MAX {
        return Err("must be at most 255 characters");
    }
    Ok((!key.is_empty()).then(|| key.to_owned()))
}

fn api_key_refused() -> Problem {
    Problem::new(
        Kind::ApiKeyRefused,
        "Send the API key of the tenant in X-Api-Key; it may have been revoked.",
    )
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn key(value: &[u8]) -> Result<Option<String>, &'static str> {
        let value = HeaderValue::from_bytes(value).unwrap();
        idempotency_key(&[("x-idempotency-key".parse().unwrap(), value)].into_iter().collect())
    }

    #[test]
    fn an_idempotency_key_is_bounded_text() {
        assert_eq!(key(b"order-7"), Ok(Some("order-7".to_owned())));
        assert_eq!(key("schl\u{fc}ssel".as_bytes()), Ok(Some("schl\u{fc}ssel".to_owned())));
        assert_eq!(key(b""), Ok(None));
        assert!(key(&[b'x'; 255]).is_ok());
        assert!(key("\u{e9}".repeat(255).as_bytes()).is_ok());
        for bad in [&[b'x'; 256][..], b"a\tb", b"\xff", "a\u{85}b".as_bytes()] {
            assert!(key(bad).is_err(), "{bad:?}");
        }
    }
}
