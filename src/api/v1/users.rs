//! Users of a tenant.

use aggregates::email::Email;
use aggregates::ids::{SessionId, UserId};
use aggregates::reservation::{Reservation, ReservationCommand};
use aggregates::role::{Role, UserChange, UserStatus};
use aggregates::session::{Closing, Session, SessionCommand};
use aggregates::tenant::{Tenant, TenantCommand};
use aggregates::user::{User, UserCommand, UserState};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use chrono::{DateTime, Utc};
use projections::{TenantScope, sessions, users};
use secrecy::SecretString;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::access::authentication::Caller;
use crate::api::commands::{Commands, Together};
use crate::api::http::body::UnreadBody;
use crate::api::http::created::Created;
use crate::api::http::path::Id;
use crate::api::http::problem::Problem;
use crate::api::http::query::{Query, one_of};
use crate::api::http::time::Timestamp;
use crate::api::http::validation;
use crate::api::openapi::schemas::{
    EmailText, Page, PasswordText, RoleGiven, RoleName, UserStatusGiven, UserStatusName,
};
use crate::secrets::passwords::Passwords;
use crate::{clock, identifiers};

/// What handling users needs.
#[derive(Clone, Debug)]
pub(crate) struct Users {
    pub(crate) commands: Commands,
    pub(crate) passwords: Passwords,
}

/// Somebody who is to become a user.
#[derive(Debug, ToSchema)]
pub(crate) struct NewUser {
    #[schema(value_type = EmailText)]
    email: Email,
    #[schema(value_type = PasswordText)]
    password: SecretString,
    /// Developer if absent.
    #[schema(value_type = Option<RoleGiven>)]
    role: Role,
}

/// What is to change of a user; what is absent stays.
#[derive(Debug, ToSchema)]
pub(crate) struct UserUpdate {
    #[schema(value_type = Option<EmailText>)]
    email: Option<Email>,
    #[schema(value_type = Option<PasswordText>)]
    password: Option<SecretString>,
    #[schema(value_type = Option<RoleGiven>)]
    role: Option<Role>,
    #[schema(value_type = Option<UserStatusGiven>)]
    status: Option<UserStatus>,
}

/// A user.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = User)]
pub(crate) struct UserView {
    pub(crate) id: Uuid,
    pub(crate) tenant_id: Uuid,
    #[schema(examples("dev@acme.com"))]
    pub(crate) email: String,
    pub(crate) status: UserStatusName,
    pub(crate) role: RoleName,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

/// Create a user.
///
/// An Admin creates Developers and Viewers, an Owner anybody.
#[utoipa::path(post, path = "/api/v1/users", tag = "Users", request_body = NewUser,
    responses((status = 201, body = UserView), (status = 400), (status = 409)))]
pub(crate) async fn create(
    State(users): State<Users>,
    caller: Caller,
    body: UnreadBody,
) -> Result<impl IntoResponse, Problem> {
    let new = NewUser::read(body, &users.passwords).await?;
    caller.role.check_create(new.role)?;
    if users.commands.store().load::<Reservation>(Reservation::on_email(&new.email)).await?.state
        != Reservation::Available
    {
        return Err(Problem::email_taken(&new.email));
    }
    let password_hash = users.passwords.hash(new.password).await?;
    let (id, at, role) = (UserId(identifiers::new_id()), clock::now(), new.role);
    let (tenant_id, email, password_hash) = (caller.tenant_id, &new.email, &password_hash);
    users
        .commands
        .together(&caller.metadata(), |mut streams| async move {
            take_email(&mut streams, email, id, at).await?;
            let (email, password_hash) = (email.clone(), password_hash.clone());
            let register = UserCommand::Register { tenant_id, email, password_hash, role, at };
            streams.decide::<User>(id.0, register, Problem::from).await?;
            if role == Role::Owner {
                let appoint = TenantCommand::AppointOwner { user_id: id, at };
                streams.decide::<Tenant>(tenant_id.0, appoint, Problem::from).await?;
            }
            Ok((streams, ()))
        })
        .await?;
    Ok(Created {
        location: format!("/api/v1/users/{id}"),
        body: UserView {
            id: id.0,
            tenant_id: tenant_id.0,
            email: email.to_string(),
            status: UserStatusName::Active,
            role: role.into(),
            created_at: at.into(),
            updated_at: at.into(),
        },
    })
}

/// List the tenant's users.
#[utoipa::path(get, path = "/api/v1/users", tag = "Users",
    params(
        ("Status" = Option<UserStatusGiven>, Query, description = "Only users of this status."),
        ("Role" = Option<RoleGiven>, Query, description = "Only users in this role."),
    ),
    responses((status = 200, body = Page<UserView>), (status = 400)))]
pub(crate) async fn list(
    State(users): State<Users>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<Page<UserView>>, Problem> {
    let paging = query.paging();
    let filter = users::Filter {
        status: query.optional(
            "Status",
            one_of(&[(UserStatus::Active, "Active", 0), (UserStatus::Inactive, "Inactive", 1)]),
        ),
        role: query.optional(
            "Role",
            one_of(&[
                (Role::Developer, "Developer", 0),
                (Role::Admin, "Admin", 1),
                (Role::Owner, "Owner", 10),
                (Role::Viewer, "Viewer", 20),
            ]),
        ),
    };
    query.complete()?;
    let mut scope = TenantScope::begin(users.commands.pool(), caller.tenant_id).await?;
    let listed = users::list(&mut scope, filter, paging.sort, paging.direction, paging.page).await?;
    scope.end().await?;
    Ok(Json(Page::of(listed)))
}

/// Look at a user.
#[utoipa::path(get, path = "/api/v1/users/{id}", tag = "Users",
    responses((status = 200, body = UserView), (status = 403), (status = 404)))]
pub(crate) async fn get(
    State(users): State<Users>,
    caller: Caller,
    Id(id): Id<UserId>,
) -> Result<Json<UserView>, Problem> {
    users.find(&caller, id).await.map(|user| Json(user.into()))
}

/// Change a user.
///
/// Everybody changes their own email and password. An Owner changes anybody; an Admin those who are
/// neither Admin nor Owner, and makes nobody either. A new password and a deactivation end the user's
/// sessions.
#[utoipa::path(patch, path = "/api/v1/users/{id}", tag = "Users", request_body = UserUpdate,
    responses((status = 200, body = UserView), (status = 400), (status = 403), (status = 404),
        (status = 409)))]
pub(crate) async fn update(
    State(users): State<Users>,
    caller: Caller,
    Id(id): Id<UserId>,
    body: UnreadBody,
) -> Result<Json<UserView>, Problem> {
    let before = users.find(&caller, id).await?;
    let update = UserUpdate::read(body, &users.passwords).await?;
    let wanted = UserChange {
        role: update.role.filter(|role| *role != before.role),
        status: update.status.is_some_and(|status| status != before.status),
        credentials: update.password.is_some()
            || update.email.as_ref().is_some_and(|email| *email != before.email),
    };
    caller.role.check_change(before.role, caller.user_id == id, wanted)?;
    let password_hash = match update.password.clone() {
        Some(password) => Some(users.passwords.hash(password).await?),
        None => None,
    };
    let ends_sessions = password_hash.is_some() || update.status == Some(UserStatus::Inactive);
    let open = if ends_sessions { users.open_sessions(id).await? } else { vec![] };

    let at = clock::now();
    let (caller, update, password_hash, open) = (&caller, &update, &password_hash, &open);
    let (person, changed) = users
        .commands
        .together(&caller.metadata(), |mut streams| async move {
            let mut user = streams.load::<User>(id.0).await?;
            let User::Registered(person) = user.state.clone() else { return Err(Problem::not_found("user")) };
            // What the read model showed may have changed since; what is decided here holds.
            caller.role.check_change(person.role, caller.user_id == id, wanted)?;
            let mut commands = vec![];
            if let Some(email) = update.email.as_ref().filter(|email| **email != person.email) {
                take_email(&mut streams, email, id, at).await?;
                release_email(&mut streams, &person.email, id, at).await?;
                commands.push(UserCommand::ChangeEmail { email: email.clone(), at });
            }
            if let Some(password_hash) = password_hash.clone() {
                commands.push(UserCommand::ChangePassword { password_hash, at });
            }
            commands.extend(update.role.map(|role| UserCommand::ChangeRole { role, at }));
            commands.extend(update.status.map(|status| UserCommand::ChangeStatus { status, at }));
            let facts = streams.decide_loaded(&mut user, commands, Problem::from)?;
            let User::Registered(after) = user.state else { return Err(Problem::not_found("user")) };
            keep_an_owner(&mut streams, id, &person, Some(&after), at).await?;
            if ends_sessions {
                close(&mut streams, open, at).await?;
            }
            Ok((streams, (after, !facts.is_empty())))
        })
        .await?;
    Ok(Json(UserView {
        id: id.0,
        tenant_id: caller.tenant_id.0,
        email: person.email.to_string(),
        status: person.status.into(),
        role: person.role.into(),
        created_at: before.created_at.into(),
        updated_at: if changed { at } else { before.updated_at }.into(),
    }))
}

/// Delete a user.
///
/// The user's sessions end and the email is free again. The last Owner stays.
#[utoipa::path(delete, path = "/api/v1/users/{id}", tag = "Users",
    responses((status = 204), (status = 403), (status = 404), (status = 409)))]
pub(crate) async fn delete(
    State(users): State<Users>,
    caller: Caller,
    Id(id): Id<UserId>,
) -> Result<StatusCode, Problem> {
    let before = users.find(&caller, id).await?;
    caller.role.check_delete(before.role)?;
    let open = users.open_sessions(id).await?;
    let (caller, open, at) = (&caller, &open, clock::now());
    users
        .commands
        .together(&caller.metadata(), |mut streams| async move {
            let mut user = streams.load::<User>(id.0).await?;
            let User::Registered(person) = user.state.clone() else { return Err(Problem::not_found("user")) };
            caller.role.check_delete(person.role)?;
            streams.decide_loaded(&mut user, vec![UserCommand::Delete { at }], Problem::from)?;
            release_email(&mut streams, &person.email, id, at).await?;
            keep_an_owner(&mut streams, id, &person, None, at).await?;
            close(&mut streams, open, at).await?;
            Ok((streams, ()))
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes an email for a user, or says that it is taken.
pub(crate) async fn take_email(
    streams: &mut Together,
    email: &Email,
    holder: UserId,
    at: DateTime<Utc>,
) -> Result<(), Problem> {
    let take = ReservationCommand::Reserve { holder: holder.0, at };
    let taken = |_| Problem::email_taken(email);
    streams.decide::<Reservation>(Reservation::on_email(email), take, taken).await?;
    Ok(())
}

async fn release_email(
    streams: &mut Together,
    email: &Email,
    holder: UserId,
    at: DateTime<Utc>,
) -> Result<(), Problem> {
    let release = ReservationCommand::Release { holder: holder.0, at };
    streams.decide::<Reservation>(Reservation::on_email(email), release, Problem::internal).await?;
    Ok(())
}

/// Tells the tenant when a user becomes or ceases to be one of its active Owners. Two who dismiss each
/// other at the same moment meet in the tenant's stream.
async fn keep_an_owner(
    streams: &mut Together,
    user_id: UserId,
    before: &UserState,
    after: Option<&UserState>,
    at: DateTime<Utc>,
) -> Result<(), Problem> {
    let command = match (before.is_active_owner(), after.is_some_and(UserState::is_active_owner)) {
        (false, true) => TenantCommand::AppointOwner { user_id, at },
        (true, false) => TenantCommand::DismissOwner { user_id, at },
        _ => return Ok(()),
    };
    streams.decide::<Tenant>(before.tenant_id.0, command, Problem::from).await?;
    Ok(())
}

async fn close(streams: &mut Together, sessions: &[SessionId], at: DateTime<Utc>) -> Result<(), Problem> {
    for id in sessions {
        let close = SessionCommand::Close { closing: Closing::UserChanged, at };
        streams.decide::<Session>(id.0, close, Problem::from).await?;
    }
    Ok(())
}

impl Users {
    /// A user of the caller's tenant.
    async fn find(&self, caller: &Caller, id: UserId) -> Result<users::User, Problem> {
        let pool = self.commands.pool();
        let mut scope = TenantScope::begin(pool, caller.tenant_id).await?;
        let user = users::get(&mut scope, id).await?;
        scope.end().await?;
        match user {
            Some(user) => Ok(user),
            None => {
                let owner = users::owner_of(&mut *pool.acquire().await?, id).await?;
                caller.check_owner(owner, "user")?;
                Err(Problem::not_found("user"))
            }
        }
    }

    async fn open_sessions(&self, id: UserId) -> Result<Vec<SessionId>, Problem> {
        let mut connection = self.commands.pool().acquire().await?;
        Ok(sessions::open_of_user(&mut connection, id).await?)
    }
}

impl NewUser {
    async fn read(body: UnreadBody, passwords: &Passwords) -> Result<Self, Problem> {
        let mut fields = body.fields().await?;
        let email = fields.required("email", validation::email);
        let password = fields.required("password", |value| validation::new_password(value, passwords));
        let role = fields.optional("role", validation::role);
        fields.complete(|| {
            Some(Self { email: email?, password: password?, role: role.unwrap_or(Role::Developer) })
        })
    }
}

impl UserUpdate {
    async fn read(body: UnreadBody, passwords: &Passwords) -> Result<Self, Problem> {
        let mut fields = body.fields().await?;
        let email = fields.optional("email", validation::email);
        let password = fields.optional("password", |value| validation::new_password(value, passwords));
        let role = fields.optional("role", validation::role);
        let status = fields.optional("status", validation::user_status);
        fields.complete(|| Some(Self { email, password, role, status }))
    }
}

impl From<users::User> for UserView {
    fn from(user: users::User) -> Self {
        Self {
            id: user.id.0,
            tenant_id: user.tenant_id.0,
            email: user.email.to_string(),
            status: user.status.into(),
            role: user.role.into(),
            created_at: user.created_at.into(),
            updated_at: user.updated_at.into(),
        }
    }
}
