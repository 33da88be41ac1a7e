//! `POST /api/v1/destinations/{id}/legal-hold` and `POST /api/v1/destinations/{id}/legal-hold/lift`

use aggregates::ids::DestinationId;
use aggregates::legal_hold::HeldSubject;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::{Destinations, check_owner};
use crate::api::access::authentication::Caller;
use crate::api::http::body::UnreadBody;
use crate::api::http::path::Id;
use crate::api::http::problem::Problem;
use crate::api::v1::legal_holds::{self, LegalHoldReason, LegalHoldView};

/// Place a legal hold on a destination
///
/// Until it is lifted, no payload of an event to the destination is erased, neither on request nor by retention, and no
/// such event leaves the lists.
#[utoipa::path(post, path = "/api/v1/destinations/{id}/legal-hold", tag = "Destinations",
    request_body = LegalHoldReason,
    responses((status = 200, body = LegalHoldView, description = "The legal hold."), (status = 400), (status = 403),
        (status = 404), (status = 409)))]
pub(crate) async fn place(
    State(destinations): State<Destinations>,
    caller: Caller,
    Id(id): Id<DestinationId>,
    body: UnreadBody,
) -> Result<Json<LegalHoldView>, Problem> {
    check_owner(&destinations.commands, &caller, id).await?;
    let reason = body.read_small(&()).await?;
    legal_holds::place(&destinations.commands, &caller, HeldSubject::Destination, id.0, reason)
        .await
        .map(Json)
}

/// Lift the legal hold on a destination
///
/// Retention continues with its next pass. Without a hold: nothing changes.
#[utoipa::path(post, path = "/api/v1/destinations/{id}/legal-hold/lift", tag = "Destinations",
    request_body = LegalHoldReason,
    responses((status = 204, description = "There is no legal hold."), (status = 400), (status = 403), (status = 404)))]
pub(crate) async fn lift(
    State(destinations): State<Destinations>,
    caller: Caller,
    Id(id): Id<DestinationId>,
    body: UnreadBody,
) -> Result<StatusCode, Problem> {
    check_owner(&destinations.commands, &caller, id).await?;
    let reason = body.read_small(&()).await?;
    legal_holds::lift(&destinations.commands, &caller, id.0, reason).await?;
    Ok(StatusCode::NO_CONTENT)
}
