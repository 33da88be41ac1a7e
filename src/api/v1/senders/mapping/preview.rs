//! `POST /api/v1/senders/{id}/mapping/preview`

use aggregates::ids::SenderId;
use aggregates::mapping::Mapping;
use aggregates::payload::check_payload;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::refused;
use crate::api::access::authentication::Caller;
use crate::api::http::body::{self, UnreadBody};
use crate::api::http::path::Id;
use crate::api::http::problem::{FieldErrors, Problem};
use crate::api::openapi::schemas::{MappingGiven, PayloadGiven};
use crate::api::v1::senders::Senders;

/// A payload, and a mapping to try on it.
#[derive(Debug, ToSchema)]
pub(crate) struct PreviewRequest {
    /// Payload as a source would send it.
    #[schema(value_type = PayloadGiven)]
    payload: Box<RawValue>,
    /// Mapping to try. Default: the mapping of the sender.
    #[schema(value_type = Option<MappingGiven>)]
    mapping: Option<Box<RawValue>>,
}

/// What would be delivered.
#[derive(Serialize, ToSchema)]
pub(crate) struct Preview {
    /// The mapped object; the payload itself if there is no mapping or it cannot be applied.
    #[schema(value_type = PayloadGiven)]
    delivered: Box<RawValue>,
    /// Whether a mapping was applied.
    mapped: bool,
    /// Keys that were omitted because the payload has no value for them.
    missing: Vec<String>,
    /// Reason why the mapping could not be applied.
    failure: Option<String>,
}

/// Preview a mapping
///
/// Returns what would be delivered for a payload, and stores nothing. A `mapping` in the body is tried instead of
/// the sender's own.
#[utoipa::path(post, path = "/api/v1/senders/{id}/mapping/preview", tag = "Mappings",
    request_body = PreviewRequest,
    responses((status = 200, body = Preview, description = "What would be delivered for the payload."),
        (status = 400), (status = 403), (status = 404)))]
pub(crate) async fn handler(
    State(senders): State<Senders>,
    caller: Caller,
    Id(id): Id<SenderId>,
    body: UnreadBody,
) -> Result<Json<Preview>, Problem> {
    senders.check_owner(&caller, id).await?;
    let body = body.json(senders.payload_body_bytes_max).await?;
    let request = PreviewRequest::parse(&body)?;
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
            let delivered = RawValue::from_string(delivered)?;
            Preview { delivered, mapped: true, missing: applied.missing, failure: None }
        }
    }))
}

impl PreviewRequest {
    fn parse(body: &[u8]) -> Result<Self, Problem> {
        let fields = body::raw_fields(body)?;
        let value = |name: &str| {
            let found = fields.iter().rev().find(|(sent, _)| sent.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.clone()).filter(|value| value.get() != "null")
        };
        let payload =
            value("payload").ok_or_else(|| Problem::invalid(FieldErrors::of("payload", "is required")))?;
        check_payload(payload.get().as_bytes())
            .map_err(|problem| Problem::invalid(FieldErrors::of("payload", problem.to_string())))?;
        Ok(Self { payload, mapping: value("mapping") })
    }
}
