//! `PATCH /api/v1/users/{id}`

use aggregates::ids::UserId;
use aggregates::role::UserChange;
use aggregates::user::{User, UserCommand};
use axum::Json;
use axum::extract::State;

use super::{UserView, Users, release_email, reserve_email, update_owners};
use crate::api::access::authentication::Caller;
use crate::api::http::body::UnreadBody;
use crate::api::http::fields::body;
use crate::api::http::fields::choice::{RoleGiven, UserStatusGiven};
use crate::api::http::fields::text::{CurrentPasswordText, EmailText, PasswordText};
use crate::api::http::path::Id;
use crate::api::http::problem::Problem;
use crate::clock;
use crate::event_store::{Credentials, NewEmail};
use crate::secrets::passwords::{Passwords, Requester};

body! {
    /// Changes of a user. What is absent stays as it is.
    UserUpdate with Passwords {
        email: Option<EmailText> = "email",
        password: Option<PasswordText> = "password",
        role: Option<RoleGiven> = "role",
        status: Option<UserStatusGiven> = "status",
        /// Password that the user has now. The installation may require it of users who change their own email
        /// address or password.
        current_password: Option<CurrentPasswordText> = "currentPassword",
    }
}

/// Update a user
///
/// All users may change their own email address and password. An Owner may change every user. An Admin may change
/// Developers and Viewers, and give them these roles only. A new password and a deactivation close the user's
/// sessions. A wrong `currentPassword` counts as a failed login.
#[utoipa::path(patch, path = "/api/v1/users/{id}", tag = "Users", request_body = UserUpdate,
    responses((status = 200, body = UserView, description = "The user after the change."),
        (status = 400), (status = 403), (status = 404), (status = 409), (status = 429)))]
pub(crate) async fn handler(
    State(users): State<Users>,
    caller: Caller,
    Id(id): Id<UserId>,
    body: UnreadBody,
) -> Result<Json<UserView>, Problem> {
    let before = users.find(&caller, id).await?;
    let update: UserUpdate = body.read_with(&users.passwords).await?;
    let wanted = UserChange {
        role: update.role.filter(|role| *role != before.role),
        status: update.status.is_some_and(|status| status != before.status),
        credentials: update.password.is_some()
            || update.email.as_ref().is_some_and(|email| *email != before.email),
    };
    caller.role.check_change(before.role, caller.user_id == id, wanted)?;
    if caller.user_id == id && wanted.credentials {
        users.check_current_password(&caller, &before.email, update.current_password.clone()).await?;
    }
    let password_hash = match update.password.clone() {
        Some(password) => {
            users.password_changes.hit(id)?;
            Some(users.passwords.hash(password, Requester::Tenant(caller.tenant_id)).await?)
        }
        None => None,
    };
    let at = clock::now();
    let new_email = match &update.email {
        Some(email) => Some((users.vault.email_reservation(email).await?, NewEmail::new(email.clone()))),
        None => None,
    };
    let (users, caller, update) = (&users, &caller, &update);
    let (new_email, password_hash) = (&new_email, &password_hash);
    let (user, email, changed) = users
        .commands
        .transact(&caller.metadata(), |mut work| async move {
            let mut user = work.load::<User>(id.0).await?;
            let User::Registered(before) = user.state.clone() else { return Err(Problem::not_found("user")) };
            // The read model may have been stale. This check decides.
            caller.role.check_change(before.role, caller.user_id == id, wanted)?;
            let mut email = work.email_of(&user).await?;
            let mut commands = vec![];
            let mut credentials = Credentials::default();
            if let Some((reservation, new)) = new_email.as_ref().filter(|(_, new)| *new.email() != email) {
                reserve_email(&mut work, *reservation, new.email(), id, at).await?;
                release_email(&mut work, users.vault.email_reservation(&email).await?, id, at).await?;
                commands.push(UserCommand::ChangeEmail { email_hmac_sha256: new.commitment(), at });
                email = new.email().clone();
                credentials.email = Some(new.clone());
            }
            if let Some(password_hash) = password_hash.clone() {
                commands.push(UserCommand::ChangePassword { at });
                credentials.password_hash = Some(password_hash);
            }
            commands.extend(update.role.map(|role| UserCommand::ChangeRole { role, at }));
            commands.extend(update.status.map(|status| UserCommand::ChangeStatus { status, at }));
            let facts = work.decide_user(&mut user, commands, &credentials)?;
            let User::Registered(after) = user.state else { return Err(Problem::not_found("user")) };
            update_owners(&mut work, id, &before, Some(&after), at).await?;
            Ok((work, (after, email, !facts.is_empty())))
        })
        .await?;
    Ok(Json(UserView {
        id: id.0,
        tenant_id: caller.tenant_id.0,
        email: email.to_string(),
        status: user.status.into(),
        role: user.role.into(),
        second_factor_enabled: user.second_factor.is_enabled(),
        created_at: before.created_at.into(),
        updated_at: if changed { at } else { before.updated_at }.into(),
    }))
}
