//! `POST /api/v1/senders/{id}/mapping`

use aggregates::ids::SenderId;
use aggregates::mapping::{Mapping, TEXT_BYTES_MAX};
use aggregates::sender::{Sender, SenderCommand};
use axum::Json;
use axum::extract::State;

use super::{MappingView, refused};
use crate::api::access::authentication::Caller;
use crate::api::http::body::UnreadBody;
use crate::api::http::path::Id;
use crate::api::http::problem::Problem;
use crate::api::openapi::schemas::MappingGiven;
use crate::api::v1::senders::Senders;
use crate::clock;

/// Longest body with a mapping, in bytes: the limit of a mapping, and white space.
pub(super) const MAPPING_BODY_BYTES_MAX: usize = 4 * TEXT_BYTES_MAX;

/// Set the mapping of a sender
///
/// A mapping that is set stays: remove it first, or replace it with `PUT`. Its values are expressions: paths into the payload
/// (`user:name`, `items[0]:sku`), paths joined with `+`, or arrays of them.
#[utoipa::path(post, path = "/api/v1/senders/{id}/mapping", tag = "Mappings", request_body = MappingGiven,
    responses((status = 200, body = MappingView, description = "The mapping."),
        (status = 400), (status = 403), (status = 404)))]
pub(crate) async fn handler(
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
