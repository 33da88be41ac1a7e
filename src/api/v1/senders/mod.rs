//! Senders: named sources of a destination.

pub(crate) mod mapping;

use aggregates::ids::{DestinationId, SenderId};
use aggregates::sender::{Sender, SenderCommand};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use projections::{TenantScope, senders};
use secrecy::ExposeSecret;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::access::authentication::Caller;
use crate::api::as_of;
use crate::api::commands::Commands;
use crate::api::http::body::UnreadBody;
use crate::api::http::created::Created;
use crate::api::http::path::Id;
use crate::api::http::problem::Problem;
use crate::api::http::query::Query;
use crate::api::http::time::Timestamp;
use crate::api::http::validation;
use crate::api::openapi::schemas::{DateOrTime, LabelText, Page};
use crate::api::v1::destinations::{self, IngestToken};
use crate::secrets::token::{self, TokenKind};
use crate::{clock, identifiers};

/// What handling senders and their mappings needs.
#[derive(Clone, Debug)]
pub(crate) struct Senders {
    pub(crate) commands: Commands,
    /// Longest body that carries a payload, in bytes.
    pub(crate) payload_body_bytes_max: usize,
}

/// A sender that is wanted.
#[derive(Debug, ToSchema)]
pub(crate) struct NewSender {
    #[schema(value_type = Option<LabelText>)]
    label: Option<String>,
}

/// A sender.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Sender)]
pub(crate) struct SenderView {
    id: Uuid,
    destination_id: Uuid,
    tenant_id: Uuid,
    #[schema(examples("GitHub Webhooks"))]
    label: Option<String>,
    has_mapping: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// A sender that was just registered.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RegisteredSender {
    #[serde(flatten)]
    sender: SenderView,
    /// The way in, shown this once.
    #[schema(examples("sndr_5f8a3b2c1d9e4f6a7b8c9d0e1f2a3b4c"))]
    ingest_token: String,
}

/// Register a sender of a destination.
#[utoipa::path(post, path = "/api/v1/destinations/{id}/senders", tag = "Senders", request_body = NewSender,
    responses((status = 201, body = RegisteredSender), (status = 400), (status = 403), (status = 404)))]
pub(crate) async fn register(
    State(senders): State<Senders>,
    caller: Caller,
    Id(destination_id): Id<DestinationId>,
    body: UnreadBody,
) -> Result<impl IntoResponse, Problem> {
    destinations::check_owner(&senders.commands, &caller, destination_id).await?;
    let mut fields = body.fields().await?;
    let label = fields.optional("label", validation::label);
    let NewSender { label } = fields.complete(|| Some(NewSender { label }))?;
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

/// List the senders of a destination.
#[utoipa::path(get, path = "/api/v1/destinations/{id}/senders", tag = "Senders",
    responses((status = 200, body = Page<SenderView>), (status = 400), (status = 403), (status = 404)))]
pub(crate) async fn list(
    State(senders): State<Senders>,
    caller: Caller,
    Id(destination_id): Id<DestinationId>,
    mut query: Query,
) -> Result<Json<Page<SenderView>>, Problem> {
    destinations::check_owner(&senders.commands, &caller, destination_id).await?;
    let paging = query.paging();
    query.complete()?;
    let mut scope = TenantScope::begin(senders.commands.pool(), caller.tenant_id).await?;
    let listed =
        senders::list(&mut scope, destination_id, paging.sort, paging.direction, paging.page).await?;
    scope.end().await?;
    Ok(Json(Page::of(listed)))
}

/// Look at a sender, as it is or as it was.
#[utoipa::path(get, path = "/api/v1/senders/{id}", tag = "Senders",
    params(("AsOf" = Option<DateOrTime>, Query,
        description = "The sender as it was at this time; a date means its end.")),
    responses((status = 200, body = SenderView), (status = 400), (status = 403), (status = 404)))]
pub(crate) async fn get(
    State(senders): State<Senders>,
    caller: Caller,
    Id(id): Id<SenderId>,
    query: Query,
) -> Result<Json<SenderView>, Problem> {
    if as_of::asked(&query) {
        let sender = as_of::sender(&senders.commands, &caller, id, query).await?;
        return Ok(Json(sender.into()));
    }
    senders.check_owner(&caller, id).await?;
    let mut scope = TenantScope::begin(senders.commands.pool(), caller.tenant_id).await?;
    let sender = senders::get(&mut scope, id).await?;
    scope.end().await?;
    sender.map(|sender| Json(sender.into())).ok_or_else(|| Problem::not_found("sender"))
}

/// Delete a sender.
///
/// Its ingest token is dead from the moment of the answer on; its events stay.
#[utoipa::path(delete, path = "/api/v1/senders/{id}", tag = "Senders",
    responses((status = 204), (status = 403), (status = 404)))]
pub(crate) async fn delete(
    State(senders): State<Senders>,
    caller: Caller,
    Id(id): Id<SenderId>,
) -> Result<StatusCode, Problem> {
    senders.check_owner(&caller, id).await?;
    let command = SenderCommand::Delete { at: clock::now() };
    senders.commands.execute::<Sender>(id.0, command, &caller.metadata()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Replace a sender's ingest token.
///
/// The old one is dead from the moment of the answer on.
#[utoipa::path(post, path = "/api/v1/senders/{id}/ingest-token", tag = "Senders",
    responses((status = 200, body = IngestToken), (status = 403), (status = 404)))]
pub(crate) async fn regenerate_token(
    State(senders): State<Senders>,
    caller: Caller,
    Id(id): Id<SenderId>,
) -> Result<Json<IngestToken>, Problem> {
    senders.check_owner(&caller, id).await?;
    let token = TokenKind::SenderIngest.generate();
    let ingest_token_hash = token::hash(token.expose_secret());
    let command = SenderCommand::RegenerateIngestToken { ingest_token_hash, at: clock::now() };
    senders.commands.execute::<Sender>(id.0, command, &caller.metadata()).await?;
    Ok(Json(IngestToken { ingest_token: token.expose_secret().to_owned() }))
}

impl Senders {
    /// Lets the caller through to a sender of their tenant.
    pub(crate) async fn check_owner(&self, caller: &Caller, id: SenderId) -> Result<(), Problem> {
        let owner = senders::owner_of(&mut *self.commands.pool().acquire().await?, id).await?;
        caller.check_owner(owner, "sender")
    }
}

impl From<senders::Sender> for SenderView {
    fn from(sender: senders::Sender) -> Self {
        Self {
            id: sender.id.0,
            destination_id: sender.destination_id.0,
            tenant_id: sender.tenant_id.0,
            label: sender.label,
            has_mapping: sender.has_mapping,
            created_at: sender.created_at.into(),
            updated_at: sender.updated_at.into(),
        }
    }
}
