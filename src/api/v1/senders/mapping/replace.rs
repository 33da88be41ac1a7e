//! `PUT /api/v1/senders/{id}/mapping`

use aggregates::ids::SenderId;
use aggregates::mapping::Mapping;
use aggregates::sender::{Sender, SenderCommand};
use axum::Json;
use axum::extract::State;

use super::set::MAPPING_BODY_BYTES_MAX;
use super::{MappingView, refused};
use crate::api::access::authentication::Caller;
use crate::api::http::body::UnreadBody;
use crate::api::http::path::Id;
use crate::api::http::problem::Problem;
use crate::api::openapi::schemas::MappingGiven;
use crate::api::v1::senders::Senders;
use crate::clock;

/// Replace the mapping of a sender
///
/// Sets the mapping, in place of the one that is set, if any. Every webhook is mapped by one of both: none is delivered as
/// it was received in between.
#[utoipa::path(put, path = "/api/v1/senders/{id}/mapping", tag = "Mappings", request_body = MappingGiven,
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
    let command = SenderCommand::ReplaceMapping { mapping: mapping.as_json().to_owned(), at: clock::now() };
    senders.commands.execute::<Sender>(id.0, command, &caller.metadata()).await?;
    MappingView::of(mapping.as_json().to_owned()).map(Json)
}
