//! Invites, and the registration they allow.

use aggregates::email::Email;
use aggregates::ids::{InviteId, UserId};
use aggregates::invite::{Invite, InviteCommand, InviteRefusal};
use aggregates::role::Role;
use aggregates::user::{User, UserCommand};
use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use chrono::TimeDelta;
use projections::{TenantScope, invites};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::access::authentication::Caller;
use crate::api::commands::Commands;
use crate::api::http::body::UnreadBody;
use crate::api::http::created::Created;
use crate::api::http::path::Segments;
use crate::api::http::problem::{FieldErrors, Problem};
use crate::api::http::query::{Query, one_of};
use crate::api::http::rate_limits::Limiter;
use crate::api::http::request_context::RequestContext;
use crate::api::http::time::Timestamp;
use crate::api::http::validation;
use crate::api::openapi::schemas::{
    InviteStatusGiven, InviteStatusName, InvitedRoleGiven, Page, RoleName, UserStatusName, ValidityDays,
};
use crate::api::v1::auth::Credentials;
use crate::api::v1::users::{UserView, take_email};
use crate::event_store::Actor;
use crate::secrets::passwords::Passwords;
use crate::secrets::token::{self, TokenKind};
use crate::secrets::vault::Vault;
use crate::{clock, identifiers};

/// Days an invite is good, unless whoever invites says otherwise.
const VALIDITY_DAYS_DEFAULT: u32 = 7;
/// The most days an invite may be good.
const VALIDITY_DAYS_MAX: u32 = 30;

/// What inviting needs.
#[derive(Clone, Debug)]
pub(crate) struct Invites {
    pub(crate) commands: Commands,
    pub(crate) passwords: Passwords,
    pub(crate) vault: Vault,
    /// Registrations, by address.
    pub(crate) registrations: Limiter,
}

/// An invite that is wanted.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct NewInvite {
    /// How many days it is good, from 1 to 30; 7 if absent.
    #[schema(value_type = Option<ValidityDays>)]
    validity_days: u32,
    /// The role it gives; Developer if absent. Only an Owner invites an Admin.
    #[schema(value_type = Option<InvitedRoleGiven>)]
    role: Role,
}

/// An invite.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Invite)]
pub(crate) struct InviteView {
    id: Uuid,
    tenant_id: Uuid,
    /// What the invited person registers with.
    #[schema(examples("inv_9f8e7d6c5b4a39281706f5e4d3c2b1a0"))]
    token: String,
    target_role: RoleName,
    expires_at: Timestamp,
    used_at: Option<Timestamp>,
    /// An invite that has expired unused stays Pending.
    status: InviteStatusName,
    created_at: Timestamp,
}

/// Invite somebody.
#[utoipa::path(post, path = "/api/v1/invites", tag = "Invites", request_body = NewInvite,
    responses((status = 201, body = InviteView), (status = 400)))]
pub(crate) async fn issue(
    State(invites): State<Invites>,
    caller: Caller,
    body: UnreadBody,
) -> Result<impl IntoResponse, Problem> {
    let new = NewInvite::read(body).await?;
    let (id, at, tenant_id) = (InviteId(identifiers::new_id()), clock::now(), caller.tenant_id);
    let expires_at = at + TimeDelta::days(i64::from(new.validity_days));
    let token = TokenKind::Invite.generate();
    let sealed = invites.vault.seal(tenant_id, &context(id), token.expose_secret().as_bytes()).await?;
    let command = InviteCommand::Issue {
        tenant_id,
        target_role: new.role,
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
            target_role: new.role.into(),
            expires_at: expires_at.into(),
            used_at: None,
            status: InviteStatusName::Pending,
            created_at: at.into(),
        },
    })
}

/// List the tenant's invites.
#[utoipa::path(get, path = "/api/v1/invites", tag = "Invites",
    params(("Status" = Option<InviteStatusGiven>, Query, description = "Only invites of this status.")),
    responses((status = 200, body = Page<InviteView>), (status = 400)))]
pub(crate) async fn list(
    State(invites): State<Invites>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<Page<InviteView>>, Problem> {
    let paging = query.paging();
    let used = query.optional("Status", one_of(&[(false, "Pending", 0), (true, "Used", 1)]));
    query.complete()?;
    let mut scope = TenantScope::begin(invites.commands.pool(), caller.tenant_id).await?;
    let filter = invites::Filter { used };
    let listed = invites::list(&mut scope, filter, paging.sort, paging.direction, paging.page).await?;
    scope.end().await?;
    let mut items = Vec::with_capacity(listed.items.len());
    for invite in listed.items {
        let token = invites.vault.open_text(caller.tenant_id, &context(invite.id), &invite.token).await?;
        items.push(InviteView::of(invite, &token));
    }
    Ok(Json(Page { total: listed.total, items }))
}

/// Register with an invite.
#[utoipa::path(post, path = "/api/v1/invites/{token}/register", tag = "Invites",
    request_body = Credentials,
    responses((status = 201, body = UserView), (status = 400), (status = 404), (status = 409),
        (status = 429)))]
pub(crate) async fn register(
    State(invites): State<Invites>,
    origin: RequestContext,
    segments: Segments,
    body: UnreadBody,
) -> Result<impl IntoResponse, Problem> {
    invites.registrations.hit(origin.client)?;
    let [token] = segments.of()?;
    let token = validation::token_text(&token)
        .map_err(|message| Problem::invalid(FieldErrors::of("token", message)))?;
    let mut connection = invites.commands.pool().acquire().await?;
    let invite = invites::by_token(&mut connection, &token::hash(token)).await?;
    drop(connection);
    let invite = invite.ok_or(InviteRefusal::NotIssued)?;
    let Credentials { email, password } = invites.credentials(body).await?;
    let at = clock::now();
    if invite.used_at.is_some() {
        return Err(InviteRefusal::IsUsed.into());
    }
    if invite.expires_at <= at {
        return Err(InviteRefusal::HasExpired.into());
    }
    let password_hash = invites.passwords.hash(password).await?;
    let (user_id, tenant_id) = (UserId(identifiers::new_id()), invite.tenant_id);
    let metadata = origin.metadata(tenant_id, Actor::Anonymous);
    let (email, password_hash): (&Email, _) = (&email, &password_hash);
    invites
        .commands
        .together(&metadata, |mut streams| async move {
            take_email(&mut streams, email, user_id, at).await?;
            let accept = InviteCommand::Accept { user_id, at };
            streams.decide::<Invite>(invite.id.0, accept, Problem::from).await?;
            let register = UserCommand::Register {
                tenant_id,
                email: email.clone(),
                password_hash: password_hash.clone(),
                role: invite.target_role,
                at,
            };
            streams.decide::<User>(user_id.0, register, Problem::from).await?;
            Ok((streams, ()))
        })
        .await?;
    Ok(Created {
        location: format!("/api/v1/users/{user_id}"),
        body: UserView {
            id: user_id.0,
            tenant_id: tenant_id.0,
            email: email.to_string(),
            status: UserStatusName::Active,
            role: invite.target_role.into(),
            created_at: at.into(),
            updated_at: at.into(),
        },
    })
}

/// What an invite's sealed token is bound to.
fn context(id: InviteId) -> String {
    format!("invite:{id}")
}

impl Invites {
    async fn credentials(&self, body: UnreadBody) -> Result<Credentials, Problem> {
        let mut fields = body.fields().await?;
        let email = fields.required("email", validation::email);
        let password = fields.required("password", |value| validation::new_password(value, &self.passwords));
        fields.complete(|| Some(Credentials { email: email?, password: password? }))
    }
}

impl NewInvite {
    async fn read(body: UnreadBody) -> Result<Self, Problem> {
        let mut fields = body.fields().await?;
        let days = fields.optional("validityDays", |value| validation::integer(value, 1, VALIDITY_DAYS_MAX));
        let role = fields.optional("role", validation::role);
        if role == Some(Role::Owner) {
            fields.refuse("role", InviteRefusal::OwnerCannotBeInvited.to_string());
        }
        fields.complete(|| {
            Some(Self {
                validity_days: days.unwrap_or(VALIDITY_DAYS_DEFAULT),
                role: role.unwrap_or(Role::Developer),
            })
        })
    }
}

impl InviteView {
    fn of(invite: invites::Invite, token: &SecretString) -> Self {
        Self {
            id: invite.id.0,
            tenant_id: invite.tenant_id.0,
            token: token.expose_secret().to_owned(),
            target_role: invite.target_role.into(),
            expires_at: invite.expires_at.into(),
            used_at: invite.used_at.map(Timestamp),
            status: if invite.used_at.is_some() { InviteStatusName::Used } else { InviteStatusName::Pending },
            created_at: invite.created_at.into(),
        }
    }
}
