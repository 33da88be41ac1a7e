//! Users of a tenant.

pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod erase;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod remove_second_factor;
pub(crate) mod update;

use aggregates::email::Email;
use aggregates::ids::{TenantId, UserId};
use aggregates::reservation::{Reservation, ReservationCommand};
use aggregates::role::{Role, UserStatus};
use aggregates::tenant::{Tenant, TenantCommand};
use aggregates::user::{User, UserCommand, UserState};
use chrono::{DateTime, Utc};
use projections::{TenantScope, users};
use secrecy::SecretString;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::access::authentication::Caller;
use crate::api::access::second_factors::SecondFactors;
use crate::api::commands::{Commands, UnitOfWork};
use crate::api::http::problem::{FieldErrors, Problem};
use crate::api::http::rate_limits::RateLimiter;
use crate::api::http::time::Timestamp;
use crate::api::openapi::schemas::{RoleName, UserStatusName};
use crate::api::tenant_limits::TenantLimits;
use crate::api::v1::auth::failed_logins::FailedLogins;
use crate::event_store::{Credentials, NewEmail};
use crate::secrets::passwords::{Passwords, Requester};
use crate::secrets::vault::Vault;

/// Dependencies of the handlers of users.
#[derive(Clone, Debug)]
pub(crate) struct Users {
    pub(crate) commands: Commands,
    pub(crate) passwords: Passwords,
    /// Limits changes of a password, enrolments of a second factor and new recovery codes, by user.
    pub(crate) password_changes: RateLimiter,
    pub(crate) failures: FailedLogins,
    pub(crate) requires_current_password: bool,
    pub(crate) limits: TenantLimits,
    pub(crate) second_factors: SecondFactors,
    pub(crate) vault: Vault,
}

/// User to register.
#[derive(Clone, Debug)]
pub(crate) struct NewAccount {
    pub(crate) id: UserId,
    pub(crate) tenant_id: TenantId,
    pub(crate) email: NewEmail,
    /// Stream that makes the email address unique.
    pub(crate) reservation: Uuid,
    /// Argon2id hash in PHC format.
    pub(crate) password_hash: String,
    pub(crate) role: Role,
    pub(crate) at: DateTime<Utc>,
}

/// A user.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = User)]
pub(crate) struct UserView {
    id: Uuid,
    tenant_id: Uuid,
    #[schema(examples("dev@acme.com"))]
    email: String,
    status: UserStatusName,
    role: RoleName,
    /// Whether logins of the user need a second factor.
    second_factor_enabled: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl UserView {
    /// Shows a user who was registered.
    pub(crate) fn registered(account: &NewAccount) -> Self {
        Self {
            id: account.id.0,
            tenant_id: account.tenant_id.0,
            email: account.email.email().to_string(),
            status: UserStatus::Active.into(),
            role: account.role.into(),
            second_factor_enabled: false,
            created_at: account.at.into(),
            updated_at: account.at.into(),
        }
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
            second_factor_enabled: user.has_second_factor,
            created_at: user.created_at.into(),
            updated_at: user.updated_at.into(),
        }
    }
}

impl Users {
    /// Checks the password that a user gave for a change of the user's own email address, password or second factor. An access token
    /// alone, which may be stolen, does not suffice for that.
    ///
    /// # Errors
    /// The password is missing and required, or it is wrong.
    pub(crate) async fn check_current_password(
        &self,
        caller: &Caller,
        email: &Email,
        given: Option<SecretString>,
    ) -> Result<(), Problem> {
        const FIELD: &str = "currentPassword";
        let Some(given) = given else {
            return match self.requires_current_password {
                true => Err(Problem::invalid(FieldErrors::of(FIELD, "is required"))),
                false => Ok(()),
            };
        };
        let client = caller.client();
        self.failures.check(client, email)?;
        let login = users::by_email(&mut *self.commands.pool().acquire().await?, email).await?;
        let login = login.filter(|login| login.id == caller.user_id && login.is_current);
        let login = login.ok_or_else(Problem::read_model_behind)?;
        let slot = self.passwords.slot(Requester::Tenant(caller.tenant_id)).await?;
        self.failures.check(client, email)?;
        if slot.verify(given, Some(&login.password_hash)).await {
            return Ok(());
        }
        self.failures.count(client, email)?;
        Err(Problem::invalid(FieldErrors::of(FIELD, "must be the current password of the user")))
    }

    /// Returns a user of the caller's tenant.
    ///
    /// # Errors
    /// The user does not exist or belongs to another tenant.
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
}

/// Registers a user and reserves the email address.
///
/// # Errors
/// The address is in use.
pub(crate) async fn register(work: &mut UnitOfWork, account: &NewAccount) -> Result<(), Problem> {
    let NewAccount { id, tenant_id, email, reservation, password_hash, role, at } = account.clone();
    reserve_email(work, reservation, email.email(), id, at).await?;
    let register = UserCommand::Register { tenant_id, email_hmac_sha256: email.commitment(), role, at };
    let credentials = Credentials { email: Some(email), password_hash: Some(password_hash) };
    let mut user = work.load::<User>(id.0).await?;
    work.decide_user(&mut user, vec![register], &credentials)?;
    Ok(())
}

async fn reserve_email(
    work: &mut UnitOfWork,
    reservation: Uuid,
    email: &Email,
    holder: UserId,
    at: DateTime<Utc>,
) -> Result<(), Problem> {
    let reserve = ReservationCommand::Reserve { holder: holder.0, at };
    work.decide::<Reservation>(reservation, reserve, |_| Problem::email_taken(email)).await?;
    Ok(())
}

async fn release_email(
    work: &mut UnitOfWork,
    reservation: Uuid,
    holder: UserId,
    at: DateTime<Utc>,
) -> Result<(), Problem> {
    let release = ReservationCommand::Release { holder: holder.0, at };
    work.decide::<Reservation>(reservation, release, Problem::internal).await?;
    Ok(())
}

/// Updates the list of active Owners in the tenant when a user is added to them or removed. Two Owners who demote
/// each other at the same time conflict in the tenant's stream, so one of them is refused.
async fn update_owners(
    work: &mut UnitOfWork,
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
    work.decide::<Tenant>(before.tenant_id.0, command, Problem::from).await?;
    Ok(())
}
