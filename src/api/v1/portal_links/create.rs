//! `POST /api/v1/portal-links`

use aggregates::ids::PortalLinkId;
use aggregates::portal_link::{PortalLink, PortalLinkCommand};
use axum::extract::State;
use axum::response::IntoResponse;
use chrono::TimeDelta;
use projections::tenant_usage::Resource;
use secrecy::ExposeSecret;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::PortalLinks;
use crate::api::access::authentication::Caller;
use crate::api::http::body::UnreadBody;
use crate::api::http::created::Created;
use crate::api::http::fields::body;
use crate::api::http::fields::choice::PortalAccessGiven;
use crate::api::http::fields::number::PortalLinkSeconds;
use crate::api::http::fields::scope::DestinationIdText;
use crate::api::http::fields::text::PortalLinkLabelText;
use crate::api::http::problem::Problem;
use crate::api::http::time::Timestamp;
use crate::api::openapi::schemas::PortalAccessName;
use crate::api::v1::destinations;
use crate::secrets::token::{self, TokenKind};
use crate::{clock, identifiers};

const SECONDS_DEFAULT: u32 = 7 * 86_400;

body! {
    /// A portal link to create.
    NewPortalLink {
        /// Destination whose deliveries the link shows.
        destination_id: DestinationIdText = "destinationId",
        access: PortalAccessGiven = "access",
        /// Name of the customer, for the users of the tenant and for the audit trail. The link does not show it.
        label: PortalLinkLabelText = "label",
        /// Seconds after which the link expires, at most 90 days. Default: 7 days.
        expires_in_seconds: Option<PortalLinkSeconds> = "expiresInSeconds",
    }
}

/// A newly created portal link.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreatedPortalLink {
    id: Uuid,
    destination_id: Uuid,
    access: PortalAccessName,
    label: String,
    created_at: Timestamp,
    expires_at: Timestamp,
    /// The token, which is shown only once. It is sent as `Authorization: Bearer` like an access token.
    #[schema(examples("ptl_5f8a3b2c1d9e4f6a7b8c9d0e1f2a3b4c"))]
    token: String,
    /// Path and fragment of the dashboard's page that opens the link. Browsers do not send a fragment, so no log of a proxy
    /// has the token.
    #[schema(examples("/portal#ptl_5f8a3b2c1d9e4f6a7b8c9d0e1f2a3b4c"))]
    path: String,
}

/// Create a portal link
///
/// With the link a customer without a user account sees the events of one destination, their payloads and attempts, and with
/// the access `Operate` replays and cancels them.
#[utoipa::path(post, path = "/api/v1/portal-links", tag = "Portal links", request_body = NewPortalLink,
    responses((status = 201, body = CreatedPortalLink, description = "The portal link, whose token is shown only once."),
        (status = 400), (status = 404), (status = 422)))]
pub(crate) async fn handler(
    State(links): State<PortalLinks>,
    caller: Caller,
    body: UnreadBody,
) -> Result<impl IntoResponse, Problem> {
    let NewPortalLink { destination_id, access, label, expires_in_seconds } = body.read_small(&()).await?;
    destinations::check_owner(&links.commands, &caller, destination_id).await?;
    links.limits.check(caller.tenant_id, Resource::PortalLinks).await?;
    let (id, at, token) =
        (PortalLinkId(identifiers::new_id()), clock::now(), TokenKind::PortalLink.generate());
    let expires_at = at + TimeDelta::seconds(expires_in_seconds.unwrap_or(SECONDS_DEFAULT).into());
    let command = PortalLinkCommand::Create {
        tenant_id: caller.tenant_id,
        destination_id,
        access,
        label: label.clone(),
        token_hash: token::hash(token.expose_secret()),
        expires_at,
        at,
    };
    links.commands.execute::<PortalLink>(id.0, command, &caller.metadata()).await?;
    let token = token.expose_secret();
    Ok(Created {
        location: format!("/api/v1/portal-links/{id}"),
        body: CreatedPortalLink {
            id: id.0,
            destination_id: destination_id.0,
            access: access.into(),
            label,
            created_at: at.into(),
            expires_at: expires_at.into(),
            token: token.to_owned(),
            path: format!("/portal#{token}"),
        },
    })
}
