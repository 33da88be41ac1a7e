//! `DELETE /api/v1/senders/{id}/mapping`

use aggregates::ids::SenderId;
use aggregates::sender::SenderCommand;
use axum::extract::State;
use axum::http::StatusCode;

use crate::api::access::authentication::Caller;
use crate::api::http::path::Id;
use crate::api::http::problem::Problem;
use crate::api::v1::senders::Senders;
use crate::clock;

/// Remove the mapping of a sender
///
/// From then on payloads are delivered as they were received. Removing a mapping that does not exist has no effect.
#[utoipa::path(delete, path = "/api/v1/senders/{id}/mapping", tag = "Mappings",
    responses((status = 204, description = "The sender has no mapping."), (status = 403), (status = 404)))]
pub(crate) async fn handler(
    State(senders): State<Senders>,
    caller: Caller,
    Id(id): Id<SenderId>,
) -> Result<StatusCode, Problem> {
    senders.execute(&caller, id, SenderCommand::RemoveMapping { at: clock::now() }).await?;
    Ok(StatusCode::NO_CONTENT)
}
