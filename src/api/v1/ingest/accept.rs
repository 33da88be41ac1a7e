//! Checking the credentials of an ingest request and appending its event.

use std::sync::Arc;
use std::time::Duration;

use aggregates::ids::{ApiKeyId, TenantId, WebhookEventId};
use aggregates::mapping::Mapping;
use aggregates::payload::check_payload;
use aggregates::sealed::TokenHash;
use aggregates::webhook_event::{Acceptance, MappingResult, PayloadCommitment};
use axum::Json;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use projections::webhook_events::{self, EventStatus};
use projections::{api_keys, ingest_routes, tenants};
use sqlx::Postgres;
use sqlx::pool::PoolConnection;

use super::cache::Route;
use super::request::IngestRequest;
use super::{Accepted, Ingest, api_key_refused};
use crate::api::http::fields::text;
use crate::api::http::problem::{FieldErrors, Kind, Problem};
use crate::api::openapi::schemas::EventStatusName;
use crate::api::v1::events::streams;
use crate::database::in_time;
use crate::event_store::{AcceptItem, AcceptOutcome, AcceptedPayload, IngestCredentials};
use crate::secrets::salt::Salt;
use crate::secrets::token::{self, TokenKind};
use crate::{clock, identifiers};

/// Time within which a connection must be had, and within which a look-up must end. A source is told to send its
/// webhook again rather than to wait.
const READ_TIME_MAX: Duration = Duration::from_secs(2);

impl Ingest {
    /// Accepts a request with what is cached. Returns `None` if that is not possible for any reason.
    pub(super) async fn accept_from_cache(
        &self,
        request: &IngestRequest,
    ) -> Result<Option<Response>, Problem> {
        let token_hash = token::hash(&request.token);
        let (Some(holder), Some(route)) =
            (self.cache.holder(&request.key_hash), self.cache.route(&token_hash))
        else {
            return Ok(None);
        };
        let Ok(key) = &request.idempotency_key else { return Ok(None) };
        let same_tenant = holder.tenant_id == request.tenant_id && route.tenant_id == request.tenant_id;
        if !same_tenant || !route.receives || check_payload(&request.payload).is_err() {
            return Ok(None);
        }
        let event = self.identify(request.tenant_id, key.as_deref()).await?;
        let appended = self.append(request, holder.id, &token_hash, &route, event).await?;
        if appended.outcome == AcceptOutcome::RouteChanged {
            self.cache.remove(&request.key_hash, &token_hash);
        }
        Ok(appended.is_accepted().then(|| appended.response()))
    }

    /// Checks a request against the database in the order of the contract, and accepts it. Returns `None` if the
    /// route changed concurrently.
    pub(super) async fn accept(&self, request: &IngestRequest) -> Result<Option<Response>, Problem> {
        let holder = self.load_holder(&request.key_hash).await?;
        check_payload(&request.payload).map_err(|problem| {
            let errors = FieldErrors::of("body", problem.to_string());
            Problem::new(Kind::InvalidPayload, format!("The payload is not valid: {problem}."))
                .with_errors(errors)
        })?;
        if holder.tenant_id != request.tenant_id {
            let mut connection = self.connection().await?;
            return Err(match tenants::exists(&mut connection, request.tenant_id).await? {
                true => Problem::other_tenant("API key"),
                false => Problem::not_found("tenant"),
            });
        }
        let idempotency_key = request
            .idempotency_key
            .as_ref()
            .map_err(|message| Problem::invalid(FieldErrors::of("X-Idempotency-Key", *message)))?;
        let event = self.identify(request.tenant_id, idempotency_key.as_deref()).await?;
        if event.idempotency_key.is_some()
            && let Some(response) = self.repeated(event.id).await?
        {
            return Ok(Some(response));
        }
        let (token_hash, route) = self.load_route(request).await?;
        let appended = self.append(request, holder.id, &token_hash, &route, event).await?;
        match appended.outcome {
            _ if appended.is_accepted() => Ok(Some(appended.response())),
            // A concurrent request with the same idempotency key was accepted first.
            AcceptOutcome::Exists => self.repeated(event.id).await,
            _ => Ok(None),
        }
    }

    /// Loads the holder of an API key from the database into the cache.
    ///
    /// # Errors
    /// The API key is unknown or revoked, or its tenant is suspended.
    pub(super) async fn load_holder(&self, key_hash: &TokenHash) -> Result<api_keys::ActiveApiKey, Problem> {
        let mut connection = self.connection().await?;
        let holder = in_time(READ_TIME_MAX, api_keys::by_hash(&mut connection, key_hash)).await?;
        let holder = holder.ok_or_else(api_key_refused)?;
        if holder.tenant_is_suspended {
            return Err(Problem::tenant_suspended());
        }
        self.cache.insert_holder(key_hash, holder);
        Ok(holder)
    }

    /// Loads the route of the token from the database into the cache.
    async fn load_route(&self, request: &IngestRequest) -> Result<(TokenHash, Arc<Route>), Problem> {
        let bad_token = |message: String| Problem::invalid(FieldErrors::of("token", message));
        text::token(&request.token).map_err(bad_token)?;
        let kinds = [TokenKind::DestinationIngest, TokenKind::SenderIngest];
        if !kinds.iter().any(|kind| request.token.starts_with(kind.prefix())) {
            return Err(bad_token("must begin with dst_ or sndr_".to_owned()));
        }
        let token_hash = token::hash(&request.token);
        let mut connection = self.connection().await?;
        let route = in_time(READ_TIME_MAX, ingest_routes::by_token(&mut connection, &token_hash)).await?;
        drop(connection);
        let route = route.ok_or_else(|| {
            Problem::new(Kind::NotFound, "The ingest token does not exist or was replaced.")
        })?;
        if route.tenant_id != request.tenant_id {
            return Err(Problem::other_tenant("ingest token"));
        }
        let route = Arc::new(Route::of(route));
        if !route.receives {
            let detail = "The destination is inactive or suspended and accepts no events.";
            return Err(Problem::new(Kind::DestinationNotActive, detail));
        }
        self.cache.insert_route(&token_hash, Arc::clone(&route));
        Ok((token_hash, route))
    }

    /// Returns the id of the event to accept. For an idempotency key it follows from the tenant's data key, which is read
    /// once in some minutes: without it a repetition is not recognised, so the request is refused.
    async fn identify<'k>(
        &self,
        tenant_id: TenantId,
        idempotency_key: Option<&'k str>,
    ) -> Result<Identity<'k>, Problem> {
        let id = match idempotency_key {
            Some(key) => in_time(READ_TIME_MAX, self.vault.event_id(tenant_id, key))
                .await
                .map_err(Problem::idempotency_keys_unavailable)?,
            None => identifiers::new_event_id(),
        };
        Ok(Identity { id, idempotency_key })
    }

    /// Returns the response to a repeated request; `None` if the event does not exist.
    async fn repeated(&self, id: WebhookEventId) -> Result<Option<Response>, Problem> {
        let mut connection = self.connection().await?;
        let event = match webhook_events::summary(&mut connection, id).await? {
            Some(event) => Some((event.status, event.accepted_at)),
            None => {
                let event = streams::read_before_row(&mut connection, id).await?;
                event.map(|event| (event.status, event.accepted_at))
            }
        };
        Ok(event.map(|(status, accepted_at)| response(StatusCode::OK, id, status.into(), accepted_at)))
    }

    async fn connection(&self) -> Result<PoolConnection<Postgres>, Problem> {
        Ok(in_time(READ_TIME_MAX, self.commands.pool().acquire()).await?)
    }

    async fn append(
        &self,
        request: &IngestRequest,
        api_key: ApiKeyId,
        token_hash: &TokenHash,
        route: &Route,
        event: Identity<'_>,
    ) -> Result<Appended, Problem> {
        let Identity { id, idempotency_key } = event;
        let salt = Salt::random();
        let (delivered, mapping) = match &route.mapping {
            None => (request.payload.clone(), None),
            Some(mapping) => apply(mapping, &request.payload, &salt),
        };
        if matches!(mapping, Some(MappingResult::Applied(_))) {
            request.memory.grow(delivered.len())?;
        }
        let received = matches!(mapping, Some(MappingResult::Applied(_))).then(|| request.payload.clone());
        let at = clock::now();
        let acceptance = Acceptance {
            tenant_id: request.tenant_id,
            destination_id: route.destination_id,
            sender_id: route.sender_id,
            payload: commitment(&delivered, &salt),
            mapping,
            at,
        };
        let credentials = IngestCredentials {
            key_hash: request.key_hash.clone(),
            token_hash: token_hash.clone(),
            route_version: route.version,
        };
        let metadata = request.context.metadata_of_ingest(request.tenant_id, api_key);
        let payload = AcceptedPayload {
            delivered,
            received,
            salt,
            idempotency_key: idempotency_key.map(str::to_owned),
        };
        let item = AcceptItem::new(id, credentials, acceptance, &metadata, payload)?
            .after_hops(request.hops)
            .holding(request.memory.clone());
        let outcome = self.acceptances.commit(item).await?;
        Ok(Appended { outcome, id, at, has_own_id: idempotency_key.is_none() })
    }
}

/// Id of an event, and the idempotency key that it follows from, if any.
#[derive(Clone, Copy)]
struct Identity<'k> {
    id: WebhookEventId,
    idempotency_key: Option<&'k str>,
}

/// Result of the append of an event.
struct Appended {
    outcome: AcceptOutcome,
    id: WebhookEventId,
    at: DateTime<Utc>,
    /// Whether the id was made for this request, and not from an idempotency key.
    has_own_id: bool,
}

impl Appended {
    /// Returns whether the event is in the log because of this request. An id that no other request has exists
    /// when the answer to the first commit was lost.
    fn is_accepted(&self) -> bool {
        match self.outcome {
            AcceptOutcome::Accepted => true,
            AcceptOutcome::Exists => self.has_own_id,
            AcceptOutcome::RouteChanged => false,
        }
    }

    fn response(&self) -> Response {
        response(StatusCode::ACCEPTED, self.id, EventStatus::Pending.into(), self.at)
    }
}

fn response(
    code: StatusCode,
    id: WebhookEventId,
    status: EventStatusName,
    accepted_at: DateTime<Utc>,
) -> Response {
    let accepted = Accepted { event_id: id.0, status, accepted_at: accepted_at.into() };
    (code, [(LOCATION, format!("/api/v1/events/{id}"))], Json(accepted)).into_response()
}

/// Applies a sender's mapping to a payload. If that fails, the payload is delivered as it is, with the reason.
fn apply(mapping: &Result<Mapping, String>, payload: &Bytes, salt: &Salt) -> (Bytes, Option<MappingResult>) {
    let applied = match mapping {
        Ok(mapping) => mapping.apply(payload).map_err(|failure| failure.to_string()),
        Err(problem) => Err(problem.clone()),
    };
    match applied {
        Ok(applied) => (applied.bytes.into(), Some(MappingResult::Applied(commitment(payload, salt)))),
        Err(reason) => (payload.clone(), Some(MappingResult::Failed(reason))),
    }
}

fn commitment(payload: &Bytes, salt: &Salt) -> PayloadCommitment {
    PayloadCommitment { hmac_sha256: Some(salt.commitment_to(payload)), bytes: payload.len() as u64 }
}
