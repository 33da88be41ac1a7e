//! Destinations: where webhook events are delivered.

pub(crate) mod bodies;

use aggregates::destination::{AuthChange, Destination, DestinationCommand, OutboundAuth, Stage};
use aggregates::destination_url::Insecure;
use aggregates::ids::{DestinationId, TenantId};
use aggregates::outbound_credentials::OutboundCredentials;
use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use projections::{TenantScope, destinations};
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
use crate::api::http::query::{Query, one_of};
use crate::api::http::time::Timestamp;
use crate::api::openapi::schemas::{
    AuthTypeName, DateOrTime, DestinationStatusFilter, DestinationStatusName, Page,
};
use crate::api::v1::destinations::bodies::{DestinationChange, NewDestination};
use crate::secrets::token::{self, TokenKind};
use crate::secrets::vault::Vault;
use crate::{clock, identifiers};

/// What handling destinations needs.
#[derive(Clone, Debug)]
pub(crate) struct Destinations {
    pub(crate) commands: Commands,
    pub(crate) vault: Vault,
    pub(crate) insecure: Insecure,
}

/// A destination.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Destination)]
pub(crate) struct DestinationView {
    pub(crate) id: Uuid,
    pub(crate) tenant_id: Uuid,
    /// As given.
    #[schema(examples("https://my-server.com/webhook"))]
    pub(crate) url: String,
    pub(crate) status: DestinationStatusName,
    /// Most concurrent requests.
    #[schema(examples(5))]
    pub(crate) server_rate_limit: u32,
    pub(crate) auth_type: Option<AuthTypeName>,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

/// A destination that was just registered.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RegisteredDestination {
    #[serde(flatten)]
    destination: DestinationView,
    /// The way in, shown this once.
    #[schema(examples("dst_5f8a3b2c1d9e4f6a7b8c9d0e1f2a3b4c"))]
    ingest_token: String,
}

/// A new ingest token.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IngestToken {
    /// The way in, shown this once.
    pub(crate) ingest_token: String,
}

/// Register a destination.
#[utoipa::path(post, path = "/api/v1/destinations", tag = "Destinations", request_body = NewDestination,
    responses((status = 201, body = RegisteredDestination), (status = 400)))]
pub(crate) async fn register(
    State(destinations): State<Destinations>,
    caller: Caller,
    body: UnreadBody,
) -> Result<impl IntoResponse, Problem> {
    let new = NewDestination::read(body, destinations.insecure).await?;
    let (id, at, tenant_id) = (DestinationId(identifiers::new_id()), clock::now(), caller.tenant_id);
    let auth_type = new.credentials.as_ref().map(OutboundCredentials::auth_type);
    let auth = match &new.credentials {
        Some(credentials) => Some(destinations.seal(tenant_id, id, credentials).await?),
        None => None,
    };
    let token = TokenKind::DestinationIngest.generate();
    let command = DestinationCommand::Register {
        tenant_id,
        url: new.url.to_string(),
        concurrency_limit: new.server_rate_limit,
        auth,
        ingest_token_hash: token::hash(token.expose_secret()),
        at,
    };
    destinations.commands.execute::<Destination>(id.0, command, &caller.metadata()).await?;
    Ok(Created {
        location: format!("/api/v1/destinations/{id}"),
        body: RegisteredDestination {
            destination: DestinationView {
                id: id.0,
                tenant_id: tenant_id.0,
                url: new.url.to_string(),
                status: DestinationStatusName::Active,
                server_rate_limit: new.server_rate_limit,
                auth_type: auth_type.map(Into::into),
                created_at: at.into(),
                updated_at: at.into(),
            },
            ingest_token: token.expose_secret().to_owned(),
        },
    })
}

/// List the tenant's destinations.
#[utoipa::path(get, path = "/api/v1/destinations", tag = "Destinations",
    params(("Status" = Option<DestinationStatusFilter>, Query, description = "Only destinations of this status.")),
    responses((status = 200, body = Page<DestinationView>), (status = 400)))]
pub(crate) async fn list(
    State(destinations): State<Destinations>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<Page<DestinationView>>, Problem> {
    use destinations::Status;
    let paging = query.paging();
    let status = query.optional(
        "Status",
        one_of(&[
            (Status::Active, "Active", 0),
            (Status::Inactive, "Inactive", 1),
            (Status::Suspended, "Suspended", 2),
        ]),
    );
    query.complete()?;
    let mut scope = TenantScope::begin(destinations.commands.pool(), caller.tenant_id).await?;
    let filter = destinations::Filter { status };
    let listed = destinations::list(&mut scope, filter, paging.sort, paging.direction, paging.page).await?;
    scope.end().await?;
    Ok(Json(Page::of(listed)))
}

/// Look at a destination, as it is or as it was.
#[utoipa::path(get, path = "/api/v1/destinations/{id}", tag = "Destinations",
    params(("AsOf" = Option<DateOrTime>, Query,
        description = "The destination as it was at this time; a date means its end.")),
    responses((status = 200, body = DestinationView), (status = 400), (status = 403), (status = 404)))]
pub(crate) async fn get(
    State(destinations): State<Destinations>,
    caller: Caller,
    Id(id): Id<DestinationId>,
    query: Query,
) -> Result<Json<DestinationView>, Problem> {
    let destination = match as_of::asked(&query) {
        true => as_of::destination(&destinations.commands, &caller, id, query).await?,
        false => find(&destinations.commands, &caller, id).await?,
    };
    Ok(Json(destination.into()))
}

/// Change a destination.
///
/// What changes holds from the next attempt on, for events that were accepted before as well.
#[utoipa::path(patch, path = "/api/v1/destinations/{id}", tag = "Destinations",
    request_body = DestinationChange,
    responses((status = 200, body = DestinationView), (status = 400), (status = 403), (status = 404)))]
pub(crate) async fn update(
    State(destinations): State<Destinations>,
    caller: Caller,
    Id(id): Id<DestinationId>,
    body: UnreadBody,
) -> Result<Json<DestinationView>, Problem> {
    let before = find(&destinations.commands, &caller, id).await?;
    let change = DestinationChange::read(body, destinations.insecure).await?;
    let auth = match &change.credentials {
        _ if change.remove_auth => AuthChange::Remove,
        Some(credentials) => {
            AuthChange::Configure(destinations.seal(caller.tenant_id, id, credentials).await?)
        }
        None => AuthChange::Keep,
    };
    let at = clock::now();
    let command = DestinationCommand::Change {
        url: change.url.map(String::from),
        concurrency_limit: change.server_rate_limit,
        active: change.status,
        auth,
        at,
    };
    let executed = destinations.commands.execute::<Destination>(id.0, command, &caller.metadata()).await?;
    let changed = !executed.facts.is_empty();
    let Destination::Registered(endpoint) = executed.state else {
        return Err(Problem::not_found("destination"));
    };
    Ok(Json(DestinationView {
        id: id.0,
        tenant_id: caller.tenant_id.0,
        url: endpoint.url,
        status: endpoint.stage.into(),
        server_rate_limit: endpoint.concurrency_limit,
        auth_type: endpoint.auth.map(|auth| auth.auth_type.into()),
        created_at: before.created_at.into(),
        updated_at: if changed { at } else { before.updated_at }.into(),
    }))
}

/// Replace a destination's ingest token.
///
/// The old one is dead from the moment of the answer on.
#[utoipa::path(post, path = "/api/v1/destinations/{id}/ingest-token", tag = "Destinations",
    responses((status = 200, body = IngestToken), (status = 403), (status = 404)))]
pub(crate) async fn regenerate_token(
    State(destinations): State<Destinations>,
    caller: Caller,
    Id(id): Id<DestinationId>,
) -> Result<Json<IngestToken>, Problem> {
    check_owner(&destinations.commands, &caller, id).await?;
    let token = TokenKind::DestinationIngest.generate();
    let command = DestinationCommand::RegenerateIngestToken {
        ingest_token_hash: token::hash(token.expose_secret()),
        at: clock::now(),
    };
    destinations.commands.execute::<Destination>(id.0, command, &caller.metadata()).await?;
    Ok(Json(IngestToken { ingest_token: token.expose_secret().to_owned() }))
}

/// Lets the caller through to a destination of their tenant.
pub(crate) async fn check_owner(
    commands: &Commands,
    caller: &Caller,
    id: DestinationId,
) -> Result<(), Problem> {
    let owner = destinations::owner_of(&mut *commands.pool().acquire().await?, id).await?;
    caller.check_owner(owner, "destination")
}

/// A destination of the caller's tenant.
async fn find(
    commands: &Commands,
    caller: &Caller,
    id: DestinationId,
) -> Result<destinations::Destination, Problem> {
    check_owner(commands, caller, id).await?;
    let mut scope = TenantScope::begin(commands.pool(), caller.tenant_id).await?;
    let destination = destinations::get(&mut scope, id).await?;
    scope.end().await?;
    destination.ok_or_else(|| Problem::not_found("destination"))
}

impl Destinations {
    async fn seal(
        &self,
        tenant_id: TenantId,
        id: DestinationId,
        credentials: &OutboundCredentials,
    ) -> Result<OutboundAuth, Problem> {
        let plaintext = credentials.to_plaintext();
        let context = format!("destination:{id}");
        let sealed = self.vault.seal(tenant_id, &context, plaintext.expose_secret().as_bytes()).await?;
        Ok(OutboundAuth { auth_type: credentials.auth_type(), credentials: sealed })
    }
}

impl From<Stage> for DestinationStatusName {
    fn from(stage: Stage) -> Self {
        match stage {
            Stage::Active | Stage::Probing => Self::Active,
            Stage::Suspended => Self::Suspended,
            Stage::Inactive => Self::Inactive,
        }
    }
}

impl From<destinations::Destination> for DestinationView {
    fn from(destination: destinations::Destination) -> Self {
        Self {
            id: destination.id.0,
            tenant_id: destination.tenant_id.0,
            url: destination.url,
            status: destination.stage.into(),
            server_rate_limit: destination.concurrency_limit,
            auth_type: destination.auth_type.map(Into::into),
            created_at: destination.created_at.into(),
            updated_at: destination.updated_at.into(),
        }
    }
}
