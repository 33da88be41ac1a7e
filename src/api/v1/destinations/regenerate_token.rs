//! `POST /api/v1/destinations/{id}/ingest-token`

use aggregates::destination::{Destination, DestinationCommand};
use aggregates::ids::DestinationId;
use axum::Json;
use axum::extract::State;
use secrecy::ExposeSecret;

use super::{Destinations, IngestToken, check_owner};
use crate::api::access::authentication::Caller;
use crate::api::http::path::Id;
use crate::api::http::problem::Problem;
use crate::clock;
use crate::secrets::token::{self, TokenKind};

/// Replace the ingest token of a destination
///
/// The previous token is refused from the moment of the response.
#[utoipa::path(post, path = "/api/v1/destinations/{id}/ingest-token", tag = "Destinations",
    responses((status = 200, body = IngestToken, description = "The new ingest token, which is shown only once."),
        (status = 403), (status = 404)))]
pub(crate) async fn handler(
    State(destinations): State<Destinations>,
    caller: Caller,
    Id(id): Id<DestinationId>,
) -> Result<Json<IngestToken>, Problem> {
    check_owner(&destinations.commands, &caller, id).await?;
    let token = TokenKind::DestinationIngest.generate();
    let ingest_token_hash = token::hash(token.expose_secret());
    let command = DestinationCommand::RegenerateIngestToken { ingest_token_hash, at: clock::now() };
    destinations.commands.execute::<Destination>(id.0, command, &caller.metadata()).await?;
    Ok(Json(IngestToken { ingest_token: token.expose_secret().to_owned() }))
}
