//! `POST /api/v1/destinations/{id}/senders`

use aggregates::ids::{DestinationId, SenderId};
use aggregates::sender::{Sender, SenderCommand};
use axum::extract::State;
use axum::response::IntoResponse;
use secrecy::ExposeSecret;
use serde::Serialize;
use utoipa::ToSchema;

use super::{SenderView, Senders};
use crate::api::access::authentication::Caller;
use crate::api::http::body::UnreadBody;
use crate::api::http::created::Created;
use crate::api::http::fields::body;
use crate::api::http::fields::text::LabelText;
use crate::api::http::path::Id;
use crate::api::http::problem::Problem;
use crate::api::v1::destinations;
use crate::secrets::token::{self, TokenKind};
use crate::{clock, identifiers};

body! {
    /// A sender to register.
    NewSender {
        label: Option<LabelText> = "label",
    }
}

/// A newly registered sender.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RegisteredSender {
    #[serde(flatten)]
    sender: SenderView,
    /// Token of the ingest URL, which is shown only once.
    #[schema(examples("sndr_5f8a3b2c1d9e4f6a7b8c9d0e1f2a3b4c"))]
    ingest_token: String,
}

/// Register a sender of a destination
#[utoipa::path(post, path = "/api/v1/destinations/{id}/senders", tag = "Senders", request_body = NewSender,
    responses((status = 201, body = RegisteredSender,
        description = "The sender, with its ingest token, which is shown only once."),
        (status = 400), (status = 403), (status = 404)))]
pub(crate) async fn handler(
    State(senders): State<Senders>,
    caller: Caller,
    Id(destination_id): Id<DestinationId>,
    body: UnreadBody,
) -> Result<impl IntoResponse, Problem> {
    destinations::check_owner(&senders.commands, &caller, destination_id).await?;
    let NewSender { label } = body.read().await?;
    let (id, at, tenant_id) = (SenderId(identifiers::new_id()), clock::now(), caller.tenant_id);
    let token = TokenKind::SenderIngest.generate();
    let command = SenderCommand::Register {
        tenant_id,
        destination_id,
        label: label.clone(),
        ingest_token_hash: token::hash(token.expose_secret()),
        at,
    };
    senders.commands.execute::<Sender>(id.0, command, &caller.metadata()).await?;
    Ok(Created {
        location: format!("/api/v1/senders/{id}"),
        body: RegisteredSender {
            sender: SenderView {
                id: id.0,
                destination_id: destination_id.0,
                tenant_id: tenant_id.0,
                label,
                has_mapping: false,
                created_at: at.into(),
                updated_at: at.into(),
            },
            ingest_token: token.expose_secret().to_owned(),
        },
    })
}
