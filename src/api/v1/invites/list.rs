//! `GET /api/v1/invites`

use axum::Json;
use axum::extract::State;
use projections::invites;
use secrecy::{ExposeSecret, SecretString};

use super::{InviteView, Invites, context};
use crate::api::access::authentication::Caller;
use crate::api::http::filter::FilterParameters;
use crate::api::http::problem::Problem;
use crate::api::http::query::Query;
use crate::api::http::time::Timestamp;
use crate::api::openapi::schemas::Page;
use crate::clock;

/// List invites
///
/// Invites that were revoked, or ended with the rights of the user who issued them, are not listed.
#[utoipa::path(get, path = "/api/v1/invites", tag = "Invites",
    params(FilterParameters<invites::Filter>),
    responses((status = 200, body = Page<InviteView>, description = "A page of the tenant's invites."),
        (status = 400)))]
pub(crate) async fn handler(
    State(invites): State<Invites>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<Page<InviteView>>, Problem> {
    let paging = query.paging();
    let filter: invites::Filter = query.filter();
    query.complete()?;
    let mut scope = invites.commands.lists().begin(caller.tenant_id).await?;
    let listed = invites::list(&mut scope, filter, paging.sort, paging.direction, paging.page).await?;
    scope.end().await?;
    let mut items = Vec::with_capacity(listed.items.len());
    let now = clock::now();
    for invite in listed.items {
        let can_be_used = invite.used_at.is_none() && invite.expires_at > now;
        let token = match can_be_used {
            true => invites.vault.open_text(caller.tenant_id, &context(invite.id), &invite.token).await?,
            false => SecretString::default(),
        };
        items.push(InviteView::of(invite, &token));
    }
    Ok(Json(Page { total: listed.total, items }))
}

impl InviteView {
    fn of(invite: invites::Invite, token: &SecretString) -> Self {
        let status = invite.status();
        Self {
            id: invite.id.0,
            tenant_id: invite.tenant_id.0,
            token: token.expose_secret().to_owned(),
            target_role: invite.target_role.into(),
            expires_at: invite.expires_at.into(),
            used_at: invite.used_at.map(Timestamp),
            status: status.into(),
            created_at: invite.created_at.into(),
        }
    }
}
