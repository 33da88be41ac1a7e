//! `DELETE /api/v1/senders/{id}`

use aggregates::ids::SenderId;
use aggregates::sender::SenderCommand;
use axum::extract::State;
use axum::http::StatusCode;

use super::Senders;
use crate::api::access::authentication::Caller;
use crate::api::http::path::Id;
use crate::api::http::problem::Problem;
use crate::clock;

/// Delete a sender
///
/// Its ingest token is refused from the moment of the response. Its events stay.
#[utoipa::path(delete, path = "/api/v1/senders/{id}", tag = "Senders",
    responses((status = 204, description = "The sender was deleted."), (status = 403), (status = 404)))]
pub(crate) async fn handler(
    State(senders): State<Senders>,
    caller: Caller,
    Id(id): Id<SenderId>,
) -> Result<StatusCode, Problem> {
    senders.execute(&caller, id, SenderCommand::Delete { at: clock::now() }).await?;
    Ok(StatusCode::NO_CONTENT)
}
