//! `POST /api/v1/destinations`

use aggregates::destination::{CONCURRENCY_LIMIT_DEFAULT, Destination, DestinationCommand};
use aggregates::ids::DestinationId;
use aggregates::target_rules::TargetRules;
use axum::extract::State;
use axum::response::IntoResponse;
use projections::destinations::DestinationStatus;
use projections::tenant_usage::Resource;
use secrecy::ExposeSecret;
use serde::Serialize;
use utoipa::ToSchema;

use super::authentication::NewAuthentication;
use super::{DestinationView, Destinations};
use crate::api::access::authentication::Caller;
use crate::api::http::body::UnreadBody;
use crate::api::http::created::Created;
use crate::api::http::fields::body;
use crate::api::http::fields::destination::DestinationUrlText;
use crate::api::http::fields::number::PositiveNumber;
use crate::api::http::problem::Problem;
use crate::secrets::token::{self, TokenKind};
use crate::{clock, identifiers};

body! {
    /// A destination to register.
    NewDestination with TargetRules {
        url: DestinationUrlText = "url",
        /// Largest number of concurrent requests. Default: 5. The installation may have a lower maximum, see
        /// `effectiveServerRateLimit`.
        concurrency_limit: Option<PositiveNumber> = "serverRateLimit",
        #[schema(ignore)]
        credentials: NewAuthentication = "credentials",
    }
}

/// A newly registered destination.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RegisteredDestination {
    #[serde(flatten)]
    destination: DestinationView,
    /// Token of the ingest URL, which is shown only once.
    #[schema(examples("dst_5f8a3b2c1d9e4f6a7b8c9d0e1f2a3b4c"))]
    ingest_token: String,
}

/// Register a destination
#[utoipa::path(post, path = "/api/v1/destinations", tag = "Destinations", request_body = NewDestination,
    responses((status = 201, body = RegisteredDestination,
        description = "The destination, with its ingest token, which is shown only once."),
        (status = 400), (status = 422)))]
pub(crate) async fn handler(
    State(destinations): State<Destinations>,
    caller: Caller,
    body: UnreadBody,
) -> Result<impl IntoResponse, Problem> {
    let new: NewDestination = body.read_with(&*destinations.rules).await?;
    destinations.limits.check(caller.tenant_id, Resource::Destinations).await?;
    let (id, at, tenant_id) = (DestinationId(identifiers::new_id()), clock::now(), caller.tenant_id);
    let concurrency_limit = new.concurrency_limit.unwrap_or(CONCURRENCY_LIMIT_DEFAULT);
    let auth_type = new.credentials.as_ref().map(|credentials| credentials.auth_type().into());
    let auth = match &new.credentials {
        Some(credentials) => Some(destinations.seal(tenant_id, id, credentials).await?),
        None => None,
    };
    let token = TokenKind::DestinationIngest.generate();
    let command = DestinationCommand::Register {
        tenant_id,
        url: new.url.to_string(),
        concurrency_limit,
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
                status: DestinationStatus::Active.into(),
                server_rate_limit: concurrency_limit,
                effective_server_rate_limit: destinations.effective(concurrency_limit),
                auth_type,
                legal_hold: None,
                created_at: at.into(),
                updated_at: at.into(),
            },
            ingest_token: token.expose_secret().to_owned(),
        },
    })
}
