//! Users: who they are, what they may do, and what their password is checked against.

use aggregates::email::Email;
use aggregates::fact::Fact;
use aggregates::ids::{TenantId, UserId};
use aggregates::role::{Role, UserStatus};
use aggregates::user::UserFact;
use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use crate::columns::{known, role, user_status};
use crate::fold::{self, ApplyFailure, StreamRow};
use crate::listing::{List, list_filter, sort_fields};
use crate::logged_fact::LoggedFact;
use crate::paging::{Direction, Listed, Page};
use crate::projection::ReadModel;
use crate::tenant_scope::TenantScope;

/// A user, as callers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub id: UserId,
    /// Whose user it is.
    pub tenant_id: TenantId,
    /// The email to log in with.
    pub email: Email,
    /// Whether the user may log in.
    pub status: UserStatus,
    /// What the user may do.
    pub role: Role,
    /// When the user was registered.
    pub created_at: DateTime<Utc>,
    /// When anything of it changed last.
    pub updated_at: DateTime<Utc>,
}

/// What a login is checked against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Who it would be.
    pub id: UserId,
    pub tenant_id: TenantId,
    pub role: Role,
    /// Whether the user may log in at all.
    pub status: UserStatus,
    /// Argon2id hash, in PHC form.
    pub password_hash: String,
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
        Email => "email", "email";
        Status => "status", "status";
        Role => "role", "role";
        CreatedAt => "createdAt", "created_at";
        UpdatedAt => "updatedAt", "updated_at";
    }
}

const LIST: List = List {
    table: "users",
    columns: "id, tenant_id, email, NULL::text AS password_hash, role, status, created_at, updated_at, \
              deleted_at, version",
    condition: "deleted_at IS NULL",
};

#[derive(FromRow)]
struct Row {
    id: Uuid,
    tenant_id: Uuid,
    email: Option<String>,
    password_hash: Option<String>,
    role: i16,
    status: i16,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    deleted_at: Option<DateTime<Utc>>,
    version: i64,
}

impl StreamRow for Row {
    type Fact = UserFact;

    fn pick(fact: &Fact) -> Option<&UserFact> {
        if let Fact::User(fact) = fact { Some(fact) } else { None }
    }

    fn begin(logged: &LoggedFact, fact: &UserFact) -> Option<Self> {
        let UserFact::UserRegistered { tenant_id, email, password_hash, role, at } = fact else {
            return None;
        };
        Some(Self {
            id: logged.stream_id,
            tenant_id: tenant_id.0,
            email: Some(email.as_str().to_owned()),
            password_hash: Some(password_hash.clone()),
            role: role.number(),
            status: UserStatus::Active.number(),
            created_at: *at,
            updated_at: *at,
            deleted_at: None,
            version: 1,
        })
    }

    fn follow(&mut self, fact: &UserFact) {
        match fact {
            UserFact::UserRegistered { .. } => {}
            UserFact::EmailChanged { email, at } => {
                self.email = Some(email.as_str().to_owned());
                self.updated_at = *at;
            }
            UserFact::PasswordChanged { password_hash, at } => {
                self.password_hash = Some(password_hash.clone());
                self.updated_at = *at;
            }
            UserFact::RoleChanged { role, at } => {
                self.role = role.number();
                self.updated_at = *at;
            }
            UserFact::UserDeactivated { at } => {
                self.status = UserStatus::Inactive.number();
                self.updated_at = *at;
            }
            UserFact::UserActivated { at } => {
                self.status = UserStatus::Active.number();
                self.updated_at = *at;
            }
            UserFact::UserDeleted { at } => {
                self.email = None;
                self.password_hash = None;
                self.deleted_at = Some(*at);
                self.updated_at = *at;
            }
            // A refused login changes nothing of the user.
            UserFact::LoginRefused { .. } => {}
        }
    }

    fn stream_id(&self) -> Uuid {
        self.id
    }

    fn version(&mut self) -> &mut i64 {
        &mut self.version
    }
}

impl TryFrom<Row> for User {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.id.into(),
            tenant_id: row.tenant_id.into(),
            email: known("email", row.email.and_then(|email| Email::parse(&email).ok()))?,
            status: user_status("status", row.status)?,
            role: role("role", row.role)?,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// The read model of this file.
#[derive(Debug)]
pub(crate) struct Users;

impl ReadModel for Users {
    const NAME: &'static str = "users";
    const AGGREGATES: &'static [&'static str] = &["User"];

    async fn apply(connection: &mut PgConnection, facts: &[LoggedFact]) -> Result<(), ApplyFailure> {
        apply(connection, facts).await
    }
}

async fn apply(connection: &mut PgConnection, facts: &[LoggedFact]) -> Result<(), ApplyFailure> {
    let ids = fold::streams_of::<Row>(facts);
    if ids.is_empty() {
        return Ok(());
    }
    let rows = fold::fold(load(connection, &ids).await?, facts)?;
    Ok(store(connection, &rows).await?)
}

#[tracing::instrument(name = "db.users.load", level = "trace", skip_all, err(level = "debug"))]
async fn load(connection: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"
        SELECT id, tenant_id, email, password_hash, role, status, created_at, updated_at, deleted_at, version
        FROM users
        WHERE id = ANY($1)
        "#,
        ids,
    )
    .fetch_all(connection)
    .await
}

#[tracing::instrument(name = "db.users.store", level = "trace", skip_all, err(level = "debug"))]
async fn store(connection: &mut PgConnection, rows: &[Row]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        INSERT INTO users
            (id, tenant_id, email, password_hash, role, status, created_at, updated_at, deleted_at, version)
        SELECT *
        FROM unnest(
            $1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::smallint[], $6::smallint[],
            $7::timestamptz[], $8::timestamptz[], $9::timestamptz[], $10::bigint[]
        )
        ON CONFLICT (id) DO UPDATE SET
            email = excluded.email,
            password_hash = excluded.password_hash,
            role = excluded.role,
            status = excluded.status,
            updated_at = excluded.updated_at,
            deleted_at = excluded.deleted_at,
            version = excluded.version
        WHERE users.version < excluded.version
        "#,
        &rows.iter().map(|row| row.id).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.tenant_id).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.email.clone()).collect::<Vec<_>>() as &[Option<String>],
        &rows.iter().map(|row| row.password_hash.clone()).collect::<Vec<_>>() as &[Option<String>],
        &rows.iter().map(|row| row.role).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.status).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.created_at).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.updated_at).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.deleted_at).collect::<Vec<_>>() as &[Option<DateTime<Utc>>],
        &rows.iter().map(|row| row.version).collect::<Vec<_>>(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The tenant of a living user.
#[tracing::instrument(name = "db.users.owner_of", level = "debug", skip_all, err(level = "debug"))]
pub async fn owner_of(connection: &mut PgConnection, id: UserId) -> Result<Option<TenantId>, sqlx::Error> {
    let owner = sqlx::query_scalar!("SELECT tenant_id FROM users WHERE id = $1 AND deleted_at IS NULL", id.0)
        .fetch_optional(connection)
        .await?;
    Ok(owner.map(TenantId))
}

/// What a login with this email is checked against.
#[tracing::instrument(name = "db.users.by_email", level = "debug", skip_all, err(level = "debug"))]
pub async fn by_email(connection: &mut PgConnection, email: &Email) -> Result<Option<Login>, sqlx::Error> {
    let found = sqlx::query!(
        r#"
        SELECT id, tenant_id, role, status, password_hash AS "password_hash!"
        FROM users
        WHERE email = $1 AND password_hash IS NOT NULL
        "#,
        email.as_str(),
    )
    .fetch_optional(connection)
    .await?;
    found
        .map(|row| {
            Ok(Login {
                id: row.id.into(),
                tenant_id: row.tenant_id.into(),
                role: role("role", row.role)?,
                status: user_status("status", row.status)?,
                password_hash: row.password_hash,
            })
        })
        .transpose()
}

/// A living user of the scope's tenant.
#[tracing::instrument(name = "db.users.get", level = "debug", skip_all, err(level = "debug"))]
pub async fn get(scope: &mut TenantScope, id: UserId) -> Result<Option<User>, sqlx::Error> {
    let tenant_id = scope.tenant_id().0;
    sqlx::query_as!(
        Row,
        r#"
        SELECT
            id, tenant_id, email, NULL::text AS password_hash, role, status,
            created_at, updated_at, deleted_at, version
        FROM users
        WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL
        "#,
        tenant_id,
        id.0,
    )
    .fetch_optional(scope.connection())
    .await?
    .map(User::try_from)
    .transpose()
}

/// The living users of the scope's tenant.
#[tracing::instrument(name = "db.users.list", level = "debug", skip_all, err(level = "debug"))]
pub async fn list(
    scope: &mut TenantScope,
    filter: Filter,
    sort: SortField,
    direction: Direction,
    page: Page,
) -> Result<Listed<User>, sqlx::Error> {
    LIST.read::<Row, _>(scope, filter, sort, direction, page).await
}
