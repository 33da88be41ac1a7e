//! `POST /api/v1/senders/{id}/ingest-token`

use aggregates::ids::SenderId;
use aggregates::sender::SenderCommand;
use axum::Json;
use axum::extract::State;
use secrecy::ExposeSecret;

use super::Senders;
use crate::api::access::authentication::Caller;
use crate::api::http::path::Id;
use crate::api::http::problem::Problem;
use crate::api::v1::destinations::IngestToken;
use crate::clock;
use crate::secrets::token::{self, TokenKind};

/// Replace the ingest token of a sender
///
/// The previous token is refused from the moment of the response.
#[utoipa::path(post, path = "/api/v1/senders/{id}/ingest-token", tag = "Senders",
    responses((status = 200, body = IngestToken, description = "The new ingest token, which is shown only once."),
        (status = 403), (status = 404)))]
pub(crate) async fn handler(
    State(senders): State<Senders>,
    caller: Caller,
    Id(id): Id<SenderId>,
) -> Result<Json<IngestToken>, Problem> {
    let token = TokenKind::SenderIngest.generate();
    let ingest_token_hash = token::hash(token.expose_secret());
    let command = SenderCommand::RegenerateIngestToken { ingest_token_hash, at: clock::now() };
    senders.execute(&caller, id, command).await?;
    Ok(Json(IngestToken { ingest_token: token.expose_secret().to_owned() }))
}
