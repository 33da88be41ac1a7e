//! `GET /api/v1/senders/{id}/mapping`

use aggregates::ids::SenderId;
use axum::Json;
use axum::extract::State;

use super::MappingView;
use crate::api::access::authentication::Caller;
use crate::api::http::path::Id;
use crate::api::http::problem::{Kind, Problem};
use crate::api::v1::senders::Senders;

/// Get the mapping of a sender
#[utoipa::path(get, path = "/api/v1/senders/{id}/mapping", tag = "Mappings",
    responses((status = 200, body = MappingView, description = "The mapping."), (status = 403), (status = 404)))]
pub(crate) async fn handler(
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
