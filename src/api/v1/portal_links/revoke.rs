//! `DELETE /api/v1/portal-links/{id}`

use aggregates::ids::PortalLinkId;
use aggregates::portal_link::{PortalLink, PortalLinkCommand};
use axum::Json;
use axum::extract::State;
use projections::{TenantScope, portal_links};

use super::{PortalLinkView, PortalLinks};
use crate::api::access::authentication::Caller;
use crate::api::http::path::Id;
use crate::api::http::problem::Problem;
use crate::clock;

/// Revoke a portal link
///
/// Requests with the link are refused from the moment of the response.
#[utoipa::path(delete, path = "/api/v1/portal-links/{id}", tag = "Portal links",
    responses((status = 200, body = PortalLinkView, description = "The revoked portal link."),
        (status = 403), (status = 404)))]
pub(crate) async fn handler(
    State(links): State<PortalLinks>,
    caller: Caller,
    Id(id): Id<PortalLinkId>,
) -> Result<Json<PortalLinkView>, Problem> {
    let pool = links.commands.pool();
    let owner = portal_links::owner_of(&mut *pool.acquire().await?, id).await?;
    caller.check_owner(owner, "unrevoked portal link")?;
    let mut scope = TenantScope::begin(pool, caller.tenant_id).await?;
    let link = portal_links::get(&mut scope, id).await?;
    scope.end().await?;
    let link = link.ok_or_else(|| Problem::not_found("unrevoked portal link"))?;
    let at = clock::now();
    let revoke = PortalLinkCommand::Revoke { at };
    links.commands.execute::<PortalLink>(id.0, revoke, &caller.metadata()).await?;
    Ok(Json(PortalLinkView { is_active: false, revoked_at: Some(at.into()), ..PortalLinkView::of(link, at) }))
}
