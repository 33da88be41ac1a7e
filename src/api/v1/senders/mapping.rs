//! Mappings of senders: set, shown, removed, tried.

use aggregates::ids::SenderId;
use aggregates::mapping::{Mapping, MappingProblem, TEXT_BYTES_MAX};
use aggregates::payload::check_payload;
use aggregates::sender::{Sender, SenderCommand};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use projections::{TenantScope, senders};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::api::access::authentication::Caller;
use crate::api::http::body::{self, UnreadBody};
use crate::api::http::path::Id;
use crate::api::http::problem::{FieldErrors, Kind, Problem};
use crate::api::openapi::schemas::{MappingGiven, PayloadGiven};
use crate::api::v1::senders::Senders;
use crate::clock;

/// Longest body of a mapping, in bytes: its own limit, and room for blanks.
const MAPPING_BODY_BYTES_MAX: usize = 4 * TEXT_BYTES_MAX;

/// A sender's mapping.
#[derive(Serialize, ToSchema)]
#[schema(as = Mapping)]
pub(crate) struct MappingView {
    /// The mapping, keys in the order given.
    #[schema(value_type = MappingGiven)]
    mapping: Box<RawValue>,
}

/// What would be delivered.
#[derive(Serialize, ToSchema)]
pub(crate) struct Preview {
    /// What would be delivered: the mapped object, or the payload itself where no mapping is set or it
    /// cannot be applied.
    #[schema(value_type = PayloadGiven)]
    delivered: Box<RawValue>,
    /// Whether a mapping was applied.
    mapped: bool,
    /// Keys that were left out because the payload has nothing for them.
    missing: Vec<String>,
    /// Why the mapping could not be applied.
    failure: Option<String>,
}

/// Set a sender's mapping.
///
/// A mapping cannot be replaced: remove it first. Its values are expressions: paths into the payload
/// (`user:name`, `items[0]:sku`), joined with `+`, or arrays of them.
#[utoipa::path(post, path = "/api/v1/senders/{id}/mapping", tag = "Mappings", request_body = MappingGiven,
    responses((status = 200, body = MappingView), (status = 400), (status = 403), (status = 404)))]
pub(crate) async fn set(
    State(senders): State<Senders>,
    caller: Caller,
    Id(id): Id<SenderId>,
    body: UnreadBody,
) -> Result<Json<MappingView>, Problem> {
    senders.check_owner(&caller, id).await?;
    let body = body.json(MAPPING_BODY_BYTES_MAX).await?;
    let mapping = Mapping::parse(&body).map_err(refused)?;
    let command = SenderCommand::SetMapping { mapping: mapping.as_json().to_owned(), at: clock::now() };
    senders.commands.execute::<Sender>(id.0, command, &caller.metadata()).await?;
    MappingView::of(mapping.as_json().to_owned()).map(Json)
}

/// Show a sender's mapping.
#[utoipa::path(get, path = "/api/v1/senders/{id}/mapping", tag = "Mappings",
    responses((status = 200, body = MappingView), (status = 403), (status = 404)))]
pub(crate) async fn get(
    State(senders): State<Senders>,
    caller: Caller,
    Id(id): Id<SenderId>,
) -> Result<Json<MappingView>, Problem> {
    senders.check_owner(&caller, id).await?;
    match senders.mapping(&caller, id).await? {
        Some(mapping) => MappingView::of(mapping).map(Json),
        None => Err(Problem::new(Kind::NotFound, "The sender has no mapping.")),
    }
}

/// Remove a sender's mapping.
///
/// What it sends is delivered as received from then on. Nothing happens when none was set.
#[utoipa::path(delete, path = "/api/v1/senders/{id}/mapping", tag = "Mappings",
    responses((status = 204), (status = 403), (status = 404)))]
pub(crate) async fn remove(
    State(senders): State<Senders>,
    caller: Caller,
    Id(id): Id<SenderId>,
) -> Result<StatusCode, Problem> {
    senders.check_owner(&caller, id).await?;
    let command = SenderCommand::RemoveMapping { at: clock::now() };
    senders.commands.execute::<Sender>(id.0, command, &caller.metadata()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Try a mapping.
///
/// Shows what would be delivered for a payload; nothing is stored. With `mapping` in the body that one is
/// tried, without it the sender's own.
#[utoipa::path(post, path = "/api/v1/senders/{id}/mapping/preview", tag = "Mappings",
    request_body = PreviewRequest,
    responses((status = 200, body = Preview), (status = 400), (status = 403), (status = 404)))]
pub(crate) async fn preview(
    State(senders): State<Senders>,
    caller: Caller,
    Id(id): Id<SenderId>,
    body: UnreadBody,
) -> Result<Json<Preview>, Problem> {
    senders.check_owner(&caller, id).await?;
    let body = body.json(senders.payload_body_bytes_max).await?;
    let request = PreviewRequest::read(&body)?;
    let mapping = match &request.mapping {
        Some(given) => Some(Mapping::parse(given.get()).map_err(refused)?),
        None => match senders.mapping(&caller, id).await? {
            Some(stored) => Some(Mapping::parse(stored).map_err(Problem::internal)?),
            None => None,
        },
    };
    let unmapped = |payload, failure| Preview { delivered: payload, mapped: false, missing: vec![], failure };
    Ok(Json(match mapping.map(|mapping| mapping.apply(request.payload.get().as_bytes())) {
        None => unmapped(request.payload, None),
        Some(Err(failure)) => unmapped(request.payload, Some(failure.to_string())),
        Some(Ok(applied)) => {
            let delivered = String::from_utf8(applied.bytes).map_err(Problem::internal)?;
            Preview { delivered: raw(delivered)?, mapped: true, missing: applied.missing, failure: None }
        }
    }))
}

/// A payload to try a mapping on.
#[derive(Debug, ToSchema)]
pub(crate) struct PreviewRequest {
    /// What a source would send.
    #[schema(value_type = PayloadGiven)]
    payload: Box<RawValue>,
    /// The mapping to try; the sender's own if absent.
    #[schema(value_type = Option<MappingGiven>)]
    mapping: Option<Box<RawValue>>,
}

impl PreviewRequest {
    /// Read with the text of both values kept: what is shown must be what would be delivered, byte for
    /// byte, and the order of a mapping's keys is part of its meaning.
    fn read(body: &[u8]) -> Result<Self, Problem> {
        let fields = body::raw_fields(body)?;
        let value = |name: &str| {
            let found = fields.iter().rev().find(|(sent, _)| sent.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.clone()).filter(|value| value.get() != "null")
        };
        let mut errors = FieldErrors::default();
        let payload = value("payload");
        match payload.as_ref().map(|payload| check_payload(payload.get().as_bytes())) {
            None => errors.add("payload", "is required"),
            Some(Err(problem)) => errors.add("payload", problem.to_string()),
            Some(Ok(())) => {}
        }
        match payload {
            Some(payload) if errors.is_empty() => Ok(Self { payload, mapping: value("mapping") }),
            _ => Err(Problem::invalid(errors)),
        }
    }
}

impl Senders {
    async fn mapping(&self, caller: &Caller, id: SenderId) -> Result<Option<String>, Problem> {
        let mut scope = TenantScope::begin(self.commands.pool(), caller.tenant_id).await?;
        let mapping = senders::mapping(&mut scope, id).await?;
        scope.end().await?;
        Ok(mapping)
    }
}

impl MappingView {
    fn of(json: String) -> Result<Self, Problem> {
        Ok(Self { mapping: raw(json)? })
    }
}

fn raw(json: String) -> Result<Box<RawValue>, Problem> {
    Ok(RawValue::from_string(json)?)
}

/// What is wrong with a mapping, under the key it is about.
fn refused(problem: MappingProblem) -> Problem {
    let key = problem.key().map_or_else(|| "mapping".to_owned(), str::to_owned);
    Problem::invalid(FieldErrors::of(key, problem.to_string()))
}
