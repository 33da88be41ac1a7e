//! `POST /api/v1/destinations/{id}/senders`

use aggregates::ids::{DestinationId, SenderId};
use aggregates::sender::{Sender, SenderCommand};
use axum::extract::State;
use axum::response::IntoResponse;
use projections::TenantScope;
use projections::paging::{Direction, Page};
use projections::senders::{SortField, list};
use projections::tenant_usage::Resource;
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
use crate::api::http::problem::{Kind, Problem};
use crate::api::v1::destinations;
use crate::secrets::token::{self, TokenKind};
use crate::{clock, identifiers};

/// Maximum number of senders of a destination. When the destination is suspended or resumed, one transaction of the
/// projector changes the routes of all of them. Senders that are registered at the same moment may exceed it.
const SENDERS_MAX: i64 = 1_000;

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
///
/// A destination has at most 1000 senders.
#[utoipa::path(post, path = "/api/v1/destinations/{id}/senders", tag = "Senders", request_body = NewSender,
    responses((status = 201, body = RegisteredSender,
        description = "The sender, with its ingest token, which is shown only once."),
        (status = 400), (status = 403), (status = 404), (status = 422)))]
pub(crate) async fn handler(
    State(senders): State<Senders>,
    caller: Caller,
    Id(destination_id): Id<DestinationId>,
    body: UnreadBody,
) -> Result<impl IntoResponse, Problem> {
    destinations::check_owner(&senders.commands, &caller, destination_id).await?;
    let NewSender { label } = body.read().await?;
    check_number(&senders, &caller, destination_id).await?;
    senders.limits.check(caller.tenant_id, Resource::Senders).await?;
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

/// Checks that the destination may have another sender.
async fn check_number(
    senders: &Senders,
    caller: &Caller,
    destination_id: DestinationId,
) -> Result<(), Problem> {
    let mut scope = TenantScope::begin(senders.commands.pool(), caller.tenant_id).await?;
    let (sort, page) = (SortField::default(), Page { limit: 1, offset: 0 });
    let listed = list(&mut scope, destination_id, sort, Direction::Ascending, page).await?;
    scope.end().await?;
    if listed.total < SENDERS_MAX {
        return Ok(());
    }
    let detail = format!("A destination has at most {SENDERS_MAX} senders: delete one that is not used.");
    Err(Problem::new(Kind::TooManySenders, detail))
}
