//! API keys: which open ingest, and for whom.

use aggregates::api_key::ApiKeyFact;
use aggregates::fact::Fact;
use aggregates::ids::{ApiKeyId, TenantId};
use aggregates::sealed::TokenHash;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::fold::{self, ApplyFailure, StreamRow};
use crate::logged_fact::LoggedFact;
use crate::paging::{Direction, Listed, Page, sort_fields};
use crate::projection::ReadModel;
use crate::tenant_scope::TenantScope;

/// An API key, as callers see it. It is active until it is revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    pub id: ApiKeyId,
    /// What people call it.
    pub name: String,
    /// When it was issued.
    pub created_at: DateTime<Utc>,
    /// When it was revoked, if it was.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// Whoever presents a living key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    pub id: ApiKeyId,
    pub tenant_id: TenantId,
}

/// Which keys to list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only active ones, or only revoked ones.
    pub active: Option<bool>,
}

sort_fields! {
    /// What API keys can be sorted by.
    SortField {
        #[default]
        Id => "id",
        Name => "name",
        IsActive => "isActive",
        CreatedAt => "createdAt",
        RevokedAt => "revokedAt",
    }
}

struct Row {
    id: Uuid,
    tenant_id: Uuid,
    name: String,
    key_hash: String,
    created_at: DateTime<Utc>,
    revoked_at: Option<DateTime<Utc>>,
    version: i64,
}

impl StreamRow for Row {
    type Fact = ApiKeyFact;

    fn pick(fact: &Fact) -> Option<&ApiKeyFact> {
        if let Fact::ApiKey(fact) = fact { Some(fact) } else { None }
    }

    fn begin(logged: &LoggedFact, fact: &ApiKeyFact) -> Option<Self> {
        let ApiKeyFact::ApiKeyIssued { tenant_id, name, key_hash, at } = fact else {
            return None;
        };
        Some(Self {
            id: logged.stream_id,
            tenant_id: tenant_id.0,
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

    fn stream_id(&self) -> Uuid {
        self.id
    }

    fn version(&mut self) -> &mut i64 {
        &mut self.version
    }
}

/// The read model of this file.
#[derive(Debug)]
pub(crate) struct ApiKeys;

impl ReadModel for ApiKeys {
    const NAME: &'static str = "api_keys";
    const AGGREGATES: &'static [&'static str] = &["ApiKey"];

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

#[tracing::instrument(name = "db.api_keys.load", level = "trace", skip_all, err(level = "debug"))]
async fn load(connection: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"
        SELECT id, tenant_id, name, key_hash, created_at, revoked_at, version
        FROM api_keys
        WHERE id = ANY($1)
        "#,
        ids,
    )
    .fetch_all(connection)
    .await
}

#[tracing::instrument(name = "db.api_keys.store", level = "trace", skip_all, err(level = "debug"))]
async fn store(connection: &mut PgConnection, rows: &[Row]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        INSERT INTO api_keys (id, tenant_id, name, key_hash, created_at, revoked_at, version)
        SELECT *
        FROM unnest(
            $1::uuid[], $2::uuid[], $3::text[], $4::text[],
            $5::timestamptz[], $6::timestamptz[], $7::bigint[]
        )
        ON CONFLICT (id) DO UPDATE SET
            revoked_at = excluded.revoked_at,
            version = excluded.version
        WHERE api_keys.version < excluded.version
        "#,
        &rows.iter().map(|row| row.id).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.tenant_id).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.name.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.key_hash.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.created_at).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.revoked_at).collect::<Vec<_>>() as &[Option<DateTime<Utc>>],
        &rows.iter().map(|row| row.version).collect::<Vec<_>>(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The tenant of a key that was not revoked.
#[tracing::instrument(name = "db.api_keys.owner_of", level = "debug", skip_all, err(level = "debug"))]
pub async fn owner_of(connection: &mut PgConnection, id: ApiKeyId) -> Result<Option<TenantId>, sqlx::Error> {
    let owner =
        sqlx::query_scalar!("SELECT tenant_id FROM api_keys WHERE id = $1 AND revoked_at IS NULL", id.0)
            .fetch_optional(connection)
            .await?;
    Ok(owner.map(TenantId))
}

/// Whoever presents the key of this hash; nobody once it is revoked.
#[tracing::instrument(name = "db.api_keys.by_hash", level = "debug", skip_all, err(level = "debug"))]
pub async fn by_hash(connection: &mut PgConnection, hash: &TokenHash) -> Result<Option<Holder>, sqlx::Error> {
    sqlx::query_as!(
        Holder,
        "SELECT id, tenant_id FROM api_keys WHERE key_hash = $1 AND revoked_at IS NULL",
        hash.0,
    )
    .fetch_optional(connection)
    .await
}

/// A key of the scope's tenant, revoked or not.
#[tracing::instrument(name = "db.api_keys.get", level = "debug", skip_all, err(level = "debug"))]
pub async fn get(scope: &mut TenantScope, id: ApiKeyId) -> Result<Option<ApiKey>, sqlx::Error> {
    let tenant_id = scope.tenant_id().0;
    sqlx::query_as!(
        ApiKey,
        "SELECT id, name, created_at, revoked_at FROM api_keys WHERE tenant_id = $1 AND id = $2",
        tenant_id,
        id.0,
    )
    .fetch_optional(scope.connection())
    .await
}

/// The keys of the scope's tenant.
#[tracing::instrument(name = "db.api_keys.list", level = "debug", skip_all, err(level = "debug"))]
pub async fn list(
    scope: &mut TenantScope,
    filter: Filter,
    sort: SortField,
    direction: Direction,
    page: Page,
) -> Result<Listed<ApiKey>, sqlx::Error> {
    let tenant_id = scope.tenant_id().0;
    let total = sqlx::query_scalar!(
        r#"
        SELECT count(*) AS "total!"
        FROM api_keys
        WHERE tenant_id = $1
          AND ($2::bool IS NULL OR (revoked_at IS NULL) = $2)
        "#,
        tenant_id,
        filter.active,
    )
    .fetch_one(scope.connection())
    .await?;
    let items = sqlx::query_as!(
        ApiKey,
        r#"
        SELECT id, name, created_at, revoked_at
        FROM api_keys
        WHERE tenant_id = $1
          AND ($2::bool IS NULL OR (revoked_at IS NULL) = $2)
        ORDER BY
            CASE WHEN $4::bool AND $3::text = 'name' THEN name END DESC,
            CASE WHEN NOT $4 AND $3 = 'name' THEN name END,
            CASE WHEN $4 AND $3 = 'isActive' THEN revoked_at IS NULL END DESC,
            CASE WHEN NOT $4 AND $3 = 'isActive' THEN revoked_at IS NULL END,
            CASE WHEN $4 THEN CASE $3 WHEN 'createdAt' THEN created_at WHEN 'revokedAt' THEN revoked_at END END DESC,
            CASE WHEN NOT $4 THEN CASE $3 WHEN 'createdAt' THEN created_at WHEN 'revokedAt' THEN revoked_at END END,
            CASE WHEN $4 THEN id END DESC,
            id
        LIMIT $5
        OFFSET $6
        "#,
        tenant_id,
        filter.active,
        sort.name(),
        direction.is_descending(),
        page.limit,
        page.offset,
    )
    .fetch_all(scope.connection())
    .await?;
    Ok(Listed { total, items })
}
