//! API keys, with which sources authenticate at the ingest endpoint.

use aggregates::api_key::ApiKeyFact;
use aggregates::ids::{ApiKeyId, TenantId};
use aggregates::sealed::TokenHash;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::fold::StreamRow;
use crate::listing::{List, list_filter, sort_fields};
use crate::logged_fact::LoggedFact;
use crate::paging::{Direction, Listed, Page};
use crate::read_model::{read_model, selected};
use crate::tenant_scope::TenantScope;

selected! {
    /// An API key, as callers see it. It is active until it is revoked.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct ApiKey {
        pub id: ApiKeyId,
        pub name: String,
        pub created_at: DateTime<Utc>,
        pub revoked_at: Option<DateTime<Utc>>,
    }
}

/// A key that is not revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveApiKey {
    pub id: ApiKeyId,
    pub tenant_id: TenantId,
    pub tenant_is_suspended: bool,
}

list_filter! {
    /// Filter of the list of API keys.
    Filter {
        /// `true`: only active keys; `false`: only revoked keys.
        active: flag => "IsActive", "(revoked_at IS NULL) = {}";
    }
}

sort_fields! {
    /// What API keys can be sorted by.
    SortField {
        #[default]
        Id => "id", "id";
        Name => "name", "name";
        IsActive => "isActive", "(revoked_at IS NULL)";
        CreatedAt => "createdAt", "created_at";
        RevokedAt => "revokedAt", "revoked_at";
    }
}

const LIST: List = List { table: "api_keys", columns: ApiKey::COLUMNS, condition: "true" };

read_model! {
    ApiKeys: table "api_keys", facts ApiKeyFact;
    struct Row {
        id: Uuid,
        tenant_id: TenantId,
        name: String,
        key_hash: String,
        created_at: DateTime<Utc>,
        revoked_at: Option<DateTime<Utc>>,
        version: i64,
    }
}

impl StreamRow for Row {
    type Fact = ApiKeyFact;

    fn begin(logged: &LoggedFact, fact: &ApiKeyFact) -> Option<Self> {
        let ApiKeyFact::ApiKeyIssued { tenant_id, name, key_hash, at } = fact else {
            return None;
        };
        Some(Self {
            id: logged.stream_id,
            tenant_id: *tenant_id,
            name: name.clone(),
            key_hash: key_hash.0.clone(),
            created_at: *at,
            revoked_at: None,
            version: 1,
        })
    }

    fn follow(&mut self, fact: &ApiKeyFact) {
        match fact {
            ApiKeyFact::ApiKeyIssued { .. } => {}
            ApiKeyFact::ApiKeyRevoked { at } => self.revoked_at = Some(*at),
        }
    }
}

/// Returns the tenant of a key that is not revoked.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.api_keys.owner_of", level = "debug", skip_all, err(level = "debug"))]
pub async fn owner_of(connection: &mut PgConnection, id: ApiKeyId) -> Result<Option<TenantId>, sqlx::Error> {
    let owner =
        sqlx::query_scalar!("SELECT tenant_id FROM api_keys WHERE id = $1 AND revoked_at IS NULL", id.0)
            .fetch_optional(connection)
            .await?;
    Ok(owner.map(TenantId))
}

/// Returns the key of a hash, unless it is revoked, even if its row does not show that yet.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.api_keys.by_hash", level = "debug", skip_all, err(level = "debug"))]
pub async fn by_hash(
    connection: &mut PgConnection,
    hash: &TokenHash,
) -> Result<Option<ActiveApiKey>, sqlx::Error> {
    sqlx::query_as!(
        ActiveApiKey,
        r#"
        SELECT
            key.id, key.tenant_id,
            (
                tenant.suspended_at IS NOT NULL
                OR tenant.version < coalesce((SELECT version FROM revocations WHERE stream_id = tenant.id), 0)
            ) IS TRUE AS "tenant_is_suspended!"
        FROM api_keys AS key
        LEFT JOIN tenants AS tenant ON tenant.id = key.tenant_id
        WHERE key.key_hash = $1
          AND key.revoked_at IS NULL
          AND key.version >= coalesce((SELECT version FROM revocations WHERE stream_id = key.id), 0)
        "#,
        hash.0,
    )
    .fetch_optional(connection)
    .await
}

/// Returns a key of the scope's tenant, revoked or not.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.api_keys.get", level = "debug", skip_all, err(level = "debug"))]
pub async fn get(scope: &mut TenantScope, id: ApiKeyId) -> Result<Option<ApiKey>, sqlx::Error> {
    LIST.find(scope, id.0).await
}

/// Lists the keys of the scope's tenant.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.api_keys.list", level = "debug", skip_all, err(level = "debug"))]
pub async fn list(
    scope: &mut TenantScope,
    filter: Filter,
    sort: SortField,
    direction: Direction,
    page: Page,
) -> Result<Listed<ApiKey>, sqlx::Error> {
    LIST.read(scope, filter, sort, direction, page).await
}
