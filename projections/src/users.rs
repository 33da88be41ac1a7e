//! Users: their roles and statuses, and the queries on them with their email addresses.

use aggregates::email::Email;
use aggregates::ids::{TenantId, UserId};
use aggregates::role::{Role, UserStatus};
use aggregates::user::UserFact;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::columns::Stored;
use crate::fold::StreamRow;
use crate::listing::{List, list_filter, sort_fields};
use crate::logged_fact::LoggedFact;
use crate::paging::{Direction, Listed, Page};
use crate::read_model::{read_model, selected};
use crate::tenant_scope::TenantScope;

selected! {
    /// A user, as callers see it.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct User {
        pub id: UserId,
        pub tenant_id: TenantId,
        pub email: Email = "(SELECT email FROM user_emails \
            WHERE user_id = users.id AND version = users.email_version)",
        pub status: UserStatus,
        pub role: Role,
        pub has_second_factor: bool,
        pub created_at: DateTime<Utc>,
        pub updated_at: DateTime<Utc>,
    }
}

/// What a login is checked against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    pub id: UserId,
    pub tenant_id: TenantId,
    pub role: Role,
    pub status: UserStatus,
    /// Argon2id hash, in PHC form.
    pub password_hash: String,
    /// Whether the login needs a second factor.
    pub has_second_factor: bool,
    /// Version of the user's stream with the fact that set the password, enabled the second factor or deactivated the
    /// user.
    pub credentials_version: i64,
    /// `false`: the row lacks a change that takes a right away, and must not be used to admit the user.
    pub is_current: bool,
    pub tenant_is_suspended: bool,
}

list_filter! {
    /// Filter of the list of users.
    Filter {
        /// Only users of this status.
        status: one_of UserStatus => "Status", "status = {}";
        /// Only users in this role.
        role: one_of Role => "Role", "role = {}";
    }
}

sort_fields! {
    /// What users can be sorted by.
    SortField {
        #[default]
        Id => "id", "id";
        TenantId => "tenantId", "tenant_id";
        Email => "email", "(SELECT email FROM user_emails \
            WHERE user_id = users.id AND version = users.email_version)";
        Status => "status", "status";
        Role => "role", "role";
        CreatedAt => "createdAt", "created_at";
        UpdatedAt => "updatedAt", "updated_at";
    }
}

/// The email address of a user whose personal data is erased is missing before the row shows that.
const LIST: List = List {
    table: "users",
    columns: User::COLUMNS,
    condition: "deleted_at IS NULL AND \
        EXISTS (SELECT FROM user_emails WHERE user_id = users.id AND version = users.email_version)",
};

read_model! {
    Users: table "users", facts UserFact;
    struct Row {
        id: Uuid,
        tenant_id: TenantId,
        email_version: Option<i64>,
        role: Role,
        status: UserStatus,
        created_at: DateTime<Utc>,
        updated_at: DateTime<Utc>,
        deleted_at: Option<DateTime<Utc>>,
        deactivated_at: Option<DateTime<Utc>>,
        has_second_factor: bool,
        credentials_version: i64,
        version: i64,
    }
}

impl StreamRow for Row {
    type Fact = UserFact;

    fn begin(logged: &LoggedFact, fact: &UserFact) -> Option<Self> {
        let UserFact::UserRegistered { tenant_id, role, at, .. } = fact else { return None };
        Some(Self {
            id: logged.stream_id,
            tenant_id: *tenant_id,
            email_version: Some(1),
            role: *role,
            status: UserStatus::Active,
            created_at: *at,
            updated_at: *at,
            deleted_at: None,
            deactivated_at: None,
            has_second_factor: false,
            credentials_version: 1,
            version: 1,
        })
    }

    fn follow(&mut self, fact: &UserFact) {
        self.updated_at = match fact {
            // What changes nothing that the row shows.
            UserFact::UserRegistered { .. }
            | UserFact::PersonalDataErased { .. }
            | UserFact::LoginRefused { .. }
            | UserFact::SecondFactorBegun { .. }
            | UserFact::RecoveryCodesReplaced { .. }
            | UserFact::RecoveryCodeUsed { .. } => return,
            UserFact::EmailChanged { at, .. } => {
                self.email_version = Some(self.version + 1);
                *at
            }
            UserFact::PasswordChanged { at } => {
                self.credentials_version = self.version + 1;
                *at
            }
            UserFact::RoleChanged { role, at } => {
                self.role = *role;
                *at
            }
            UserFact::UserDeactivated { at } => {
                self.status = UserStatus::Inactive;
                self.deactivated_at = Some(*at);
                self.credentials_version = self.version + 1;
                *at
            }
            UserFact::UserActivated { at } => {
                self.status = UserStatus::Active;
                *at
            }
            UserFact::SecondFactorEnabled { at, .. } => {
                self.has_second_factor = true;
                self.credentials_version = self.version + 1;
                *at
            }
            UserFact::SecondFactorDisabled { at } => {
                self.has_second_factor = false;
                *at
            }
            UserFact::UserDeleted { at } => {
                self.email_version = None;
                self.has_second_factor = false;
                self.deleted_at = Some(*at);
                *at
            }
        };
    }
}

/// Returns the tenant of a user who is not deleted.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.users.owner_of", level = "debug", skip_all, err(level = "debug"))]
pub async fn owner_of(connection: &mut PgConnection, id: UserId) -> Result<Option<TenantId>, sqlx::Error> {
    let owner = sqlx::query_scalar!("SELECT tenant_id FROM users WHERE id = $1 AND deleted_at IS NULL", id.0)
        .fetch_optional(connection)
        .await?;
    Ok(owner.map(TenantId))
}

/// Returns what a login with this email is checked against.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.users.by_email", level = "debug", skip_all, err(level = "debug"))]
pub async fn by_email(connection: &mut PgConnection, email: &Email) -> Result<Option<Login>, sqlx::Error> {
    sqlx::query_as!(
        Login,
        r#"
        SELECT
            users.id, users.tenant_id, users.role AS "role: Stored<Role>",
            users.status AS "status: Stored<UserStatus>", user_passwords.password_hash,
            users.has_second_factor, users.credentials_version,
            users.version >= coalesce((SELECT version FROM revocations WHERE stream_id = users.id), 0)
                AS "is_current!",
            (
                tenants.suspended_at IS NOT NULL
                OR tenants.version < coalesce((SELECT version FROM revocations WHERE stream_id = tenants.id), 0)
            ) IS TRUE AS "tenant_is_suspended!"
        FROM user_emails
        JOIN users ON users.id = user_emails.user_id AND users.email_version = user_emails.version
        JOIN user_passwords ON user_passwords.user_id = users.id
        LEFT JOIN tenants ON tenants.id = users.tenant_id
        WHERE user_emails.email = $1
        "#,
        email.as_str(),
    )
    .fetch_optional(connection)
    .await
}

/// Replaces the hash of a password by another one of the same password, unless the password has been changed since.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.users.replace_hash", level = "debug", skip_all, err(level = "debug"))]
pub async fn replace_hash(
    connection: &mut PgConnection,
    id: UserId,
    old: &str,
    new: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE user_passwords SET password_hash = $3 WHERE user_id = $1 AND password_hash = $2",
        id.0,
        old,
        new,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Returns a user of the scope's tenant who is not deleted.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.users.get", level = "debug", skip_all, err(level = "debug"))]
pub async fn get(scope: &mut TenantScope, id: UserId) -> Result<Option<User>, sqlx::Error> {
    LIST.find(scope, id.0).await
}

/// Lists the users of the scope's tenant who are not deleted.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.users.list", level = "debug", skip_all, err(level = "debug"))]
pub async fn list(
    scope: &mut TenantScope,
    filter: Filter,
    sort: SortField,
    direction: Direction,
    page: Page,
) -> Result<Listed<User>, sqlx::Error> {
    LIST.read(scope, filter, sort, direction, page).await
}
