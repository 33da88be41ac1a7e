//! `POST /api/v1/users`

use aggregates::ids::UserId;
use aggregates::reservation::Reservation;
use aggregates::role::Role;
use aggregates::tenant::{Tenant, TenantCommand};
use axum::extract::State;
use axum::response::IntoResponse;
use projections::tenant_usage::Resource;

use super::{NewAccount, UserView, Users};
use crate::api::access::authentication::Caller;
use crate::api::http::body::UnreadBody;
use crate::api::http::created::Created;
use crate::api::http::fields::body;
use crate::api::http::fields::choice::RoleGiven;
use crate::api::http::fields::text::{EmailText, PasswordText};
use crate::api::http::problem::Problem;
use crate::event_store::NewEmail;
use crate::secrets::passwords::{Passwords, Requester};
use crate::{clock, identifiers};

body! {
    /// A user to create.
    NewUser with Passwords {
        email: EmailText = "email",
        password: PasswordText = "password",
        /// Default: Developer.
        role: Option<RoleGiven> = "role",
    }
}

/// Create a user
///
/// An Admin may create Developers and Viewers, an Owner may create users of every role.
#[utoipa::path(post, path = "/api/v1/users", tag = "Users", request_body = NewUser,
    responses((status = 201, body = UserView, description = "The user."), (status = 400), (status = 409),
        (status = 422)))]
pub(crate) async fn handler(
    State(users): State<Users>,
    caller: Caller,
    body: UnreadBody,
) -> Result<impl IntoResponse, Problem> {
    let new: NewUser = body.read_with(&users.passwords).await?;
    let role = new.role.unwrap_or_default();
    caller.role.check_create(role)?;
    let reservation = users.vault.email_reservation(&new.email).await?;
    if users.commands.store().load::<Reservation>(reservation).await?.state != Reservation::Available {
        return Err(Problem::email_taken(&new.email));
    }
    users.limits.check(caller.tenant_id, Resource::Users).await?;
    let password_hash = users.passwords.hash(new.password, Requester::Tenant(caller.tenant_id)).await?;
    let (id, at, tenant_id) = (UserId(identifiers::new_id()), clock::now(), caller.tenant_id);
    let email = NewEmail::new(new.email);
    let account = &NewAccount { id, tenant_id, email, reservation, password_hash, role, at };
    users
        .commands
        .transact(&caller.metadata(), |mut work| async move {
            super::register(&mut work, account).await?;
            if role == Role::Owner {
                let appoint = TenantCommand::AppointOwner { user_id: id, at };
                work.decide::<Tenant>(tenant_id.0, appoint, Problem::from).await?;
            }
            Ok((work, ()))
        })
        .await?;
    Ok(Created { location: format!("/api/v1/users/{id}"), body: UserView::registered(account) })
}
