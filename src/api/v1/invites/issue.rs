//! `POST /api/v1/invites`

use aggregates::ids::InviteId;
use aggregates::invite::{Invite, InviteCommand};
use axum::extract::State;
use axum::response::IntoResponse;
use chrono::TimeDelta;
use projections::invites::InviteStatus;
use secrecy::ExposeSecret;

use super::{InviteView, Invites, context};
use crate::api::access::authentication::Caller;
use crate::api::http::body::UnreadBody;
use crate::api::http::created::Created;
use crate::api::http::fields::body;
use crate::api::http::fields::choice::InvitedRoleGiven;
use crate::api::http::fields::number::ValidityDays;
use crate::api::http::problem::Problem;
use crate::secrets::token::{self, TokenKind};
use crate::{clock, identifiers};

const VALIDITY_DAYS_DEFAULT: u32 = 7;

body! {
    /// An invite to issue.
    NewInvite {
        /// Days for which the invite is valid, from 1 to 30. Default: 7.
        validity_days: Option<ValidityDays> = "validityDays",
        /// Role of the user who registers with the invite. Default: Developer. Only an Owner may invite an Admin.
        role: Option<InvitedRoleGiven> = "role",
    }
}

/// Issue an invite
#[utoipa::path(post, path = "/api/v1/invites", tag = "Invites", request_body = NewInvite,
    responses((status = 201, body = InviteView, description = "The invite and its token."), (status = 400)))]
pub(crate) async fn handler(
    State(invites): State<Invites>,
    caller: Caller,
    body: UnreadBody,
) -> Result<impl IntoResponse, Problem> {
    let new: NewInvite = body.read_small(&()).await?;
    let target_role = new.role.unwrap_or_default();
    let (id, at, tenant_id) = (InviteId(identifiers::new_id()), clock::now(), caller.tenant_id);
    let validity_days = new.validity_days.unwrap_or(VALIDITY_DAYS_DEFAULT);
    let expires_at = at + TimeDelta::days(validity_days.into());
    let token = TokenKind::Invite.generate();
    let sealed = invites.vault.seal(tenant_id, &context(id), token.expose_secret().as_bytes()).await?;
    let command = InviteCommand::Issue {
        tenant_id,
        target_role,
        issued_by: caller.user_id,
        invited_by: caller.role,
        token_hash: token::hash(token.expose_secret()),
        token: sealed,
        expires_at,
        at,
    };
    invites.commands.execute::<Invite>(id.0, command, &caller.metadata()).await?;
    Ok(Created {
        location: format!("/api/v1/invites/{id}"),
        body: InviteView {
            id: id.0,
            tenant_id: tenant_id.0,
            token: token.expose_secret().to_owned(),
            target_role: target_role.into(),
            expires_at: expires_at.into(),
            used_at: None,
            status: InviteStatus::Pending.into(),
            created_at: at.into(),
        },
    })
}
