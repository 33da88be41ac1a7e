//! Invites: who may still join, and the tokens to send them.

use aggregates::fact::Fact;
use aggregates::ids::{InviteId, TenantId};
use aggregates::invite::InviteFact;
use aggregates::role::Role;
use aggregates::sealed::{Sealed, TokenHash};
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::columns::role;
use crate::fold::{self, ApplyFailure, StreamRow};
use crate::logged_fact::LoggedFact;
use crate::paging::{Direction, Listed, Page, sort_fields};
use crate::projection::ReadModel;
use crate::tenant_scope::TenantScope;

/// An invite, as callers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invite {
    pub id: InviteId,
    pub tenant_id: TenantId,
    pub token: Sealed,
    /// The role it gives.
    pub target_role: Role,
    pub expires_at: DateTime<Utc>,
    /// When it was used; `None`: it is pending, or expired.
    pub used_at: Option<DateTime<Utc>>,
    /// When it was issued.
    pub created_at: DateTime<Utc>,
}

/// What a presented token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presented {
    pub id: InviteId,
    pub tenant_id: TenantId,
    /// The role it gives.
    pub target_role: Role,
    pub expires_at: DateTime<Utc>,
    /// When it was used, if it was.
    pub used_at: Option<DateTime<Utc>>,
}

/// Which invites to list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only used ones, or only ones that are not.
    pub used: Option<bool>,
}

sort_fields! {
    /// What invites can be sorted by.
    SortField {
        #[default]
        Id => "id",
        TenantId => "tenantId",
        // Tokens are sealed and have no order that may be seen: by hash, which is as good as any.
        Token => "token",
        TargetRole => "targetRole",
        ExpiresAt => "expiresAt",
        UsedAt => "usedAt",
        Status => "status",
        CreatedAt => "createdAt",
    }
}

struct Row {
    id: Uuid,
    tenant_id: Uuid,
    target_role: i16,
    token_hash: String,
    token_data_key: Uuid,
    token_ciphertext: String,
    expires_at: DateTime<Utc>,
    created_at: DateTime<Utc>,
    used_at: Option<DateTime<Utc>>,
    version: i64,
}

impl StreamRow for Row {
    type Fact = InviteFact;

    fn pick(fact: &Fact) -> Option<&InviteFact> {
        if let Fact::Invite(fact) = fact { Some(fact) } else { None }
    }

    fn begin(logged: &LoggedFact, fact: &InviteFact) -> Option<Self> {
        let InviteFact::InviteIssued { tenant_id, target_role, token_hash, token, expires_at, at } = fact
        else {
            return None;
        };
        Some(Self {
            id: logged.stream_id,
            tenant_id: tenant_id.0,
            target_role: target_role.number(),
            token_hash: token_hash.0.clone(),
            token_data_key: token.data_key,
            token_ciphertext: token.ciphertext.clone(),
            expires_at: *expires_at,
            created_at: *at,
            used_at: None,
            version: 1,
        })
    }

    fn follow(&mut self, fact: &InviteFact) {
        match fact {
            InviteFact::InviteIssued { .. } => {}
            InviteFact::InviteAccepted { at, .. } => self.used_at = Some(*at),
        }
    }

    fn stream_id(&self) -> Uuid {
        self.id
    }

    fn version(&mut self) -> &mut i64 {
        &mut self.version
    }
}

impl TryFrom<Row> for Invite {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.id.into(),
            tenant_id: row.tenant_id.into(),
            token: Sealed { data_key: row.token_data_key, ciphertext: row.token_ciphertext },
            target_role: role("target_role", row.target_role)?,
            expires_at: row.expires_at,
            used_at: row.used_at,
            created_at: row.created_at,
        })
    }
}

/// The read model of this file.
#[derive(Debug)]
pub(crate) struct Invites;

impl ReadModel for Invites {
    const NAME: &'static str = "invites";
    const AGGREGATES: &'static [&'static str] = &["Invite"];

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

#[tracing::instrument(name = "db.invites.load", level = "trace", skip_all, err(level = "debug"))]
async fn load(connection: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"
        SELECT
            id, tenant_id, target_role, token_hash, token_data_key, token_ciphertext,
            expires_at, created_at, used_at, version
        FROM invites
        WHERE id = ANY($1)
        "#,
        ids,
    )
    .fetch_all(connection)
    .await
}

#[tracing::instrument(name = "db.invites.store", level = "trace", skip_all, err(level = "debug"))]
async fn store(connection: &mut PgConnection, rows: &[Row]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        INSERT INTO invites (
            id, tenant_id, target_role, token_hash, token_data_key, token_ciphertext,
            expires_at, created_at, used_at, version
        )
        SELECT *
        FROM unnest(
            $1::uuid[], $2::uuid[], $3::smallint[], $4::text[], $5::uuid[], $6::text[],
            $7::timestamptz[], $8::timestamptz[], $9::timestamptz[], $10::bigint[]
        )
        ON CONFLICT (id) DO UPDATE SET
            used_at = excluded.used_at,
            version = excluded.version
        WHERE invites.version < excluded.version
        "#,
        &rows.iter().map(|row| row.id).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.tenant_id).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.target_role).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.token_hash.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.token_data_key).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.token_ciphertext.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.expires_at).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.created_at).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.used_at).collect::<Vec<_>>() as &[Option<DateTime<Utc>>],
        &rows.iter().map(|row| row.version).collect::<Vec<_>>(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The invite whose token has this hash, used or not.
#[tracing::instrument(name = "db.invites.by_token", level = "debug", skip_all, err(level = "debug"))]
pub async fn by_token(
    connection: &mut PgConnection,
    hash: &TokenHash,
) -> Result<Option<Presented>, sqlx::Error> {
    let found = sqlx::query!(
        "SELECT id, tenant_id, target_role, expires_at, used_at FROM invites WHERE token_hash = $1",
        hash.0,
    )
    .fetch_optional(connection)
    .await?;
    found
        .map(|row| {
            Ok(Presented {
                id: row.id.into(),
                tenant_id: row.tenant_id.into(),
                target_role: role("target_role", row.target_role)?,
                expires_at: row.expires_at,
                used_at: row.used_at,
            })
        })
        .transpose()
}

/// An invite of the scope's tenant.
#[tracing::instrument(name = "db.invites.get", level = "debug", skip_all, err(level = "debug"))]
pub async fn get(scope: &mut TenantScope, id: InviteId) -> Result<Option<Invite>, sqlx::Error> {
    let tenant_id = scope.tenant_id().0;
    sqlx::query_as!(
        Row,
        r#"
        SELECT
            id, tenant_id, target_role, token_hash, token_data_key, token_ciphertext,
            expires_at, created_at, used_at, version
        FROM invites
        WHERE tenant_id = $1 AND id = $2
        "#,
        tenant_id,
        id.0,
    )
    .fetch_optional(scope.connection())
    .await?
    .map(Invite::try_from)
    .transpose()
}

/// The invites of the scope's tenant.
#[tracing::instrument(name = "db.invites.list", level = "debug", skip_all, err(level = "debug"))]
pub async fn list(
    scope: &mut TenantScope,
    filter: Filter,
    sort: SortField,
    direction: Direction,
    page: Page,
) -> Result<Listed<Invite>, sqlx::Error> {
    let tenant_id = scope.tenant_id().0;
    let total = sqlx::query_scalar!(
        r#"
        SELECT count(*) AS "total!"
        FROM invites
        WHERE tenant_id = $1
          AND ($2::bool IS NULL OR (used_at IS NOT NULL) = $2)
        "#,
        tenant_id,
        filter.used,
    )
    .fetch_one(scope.connection())
    .await?;
    let rows = sqlx::query_as!(
        Row,
        r#"
        SELECT
            id, tenant_id, target_role, token_hash, token_data_key, token_ciphertext,
            expires_at, created_at, used_at, version
        FROM invites
        WHERE tenant_id = $1
          AND ($2::bool IS NULL OR (used_at IS NOT NULL) = $2)
        ORDER BY
            CASE WHEN $4::bool AND $3::text = 'token' THEN token_hash END DESC,
            CASE WHEN NOT $4 AND $3 = 'token' THEN token_hash END,
            CASE WHEN $4 AND $3 = 'targetRole' THEN target_role END DESC,
            CASE WHEN NOT $4 AND $3 = 'targetRole' THEN target_role END,
            CASE WHEN $4 AND $3 = 'status' THEN used_at IS NOT NULL END DESC,
            CASE WHEN NOT $4 AND $3 = 'status' THEN used_at IS NOT NULL END,
            CASE WHEN $4 THEN
                CASE $3
                    WHEN 'expiresAt' THEN expires_at
                    WHEN 'usedAt' THEN used_at
                    WHEN 'createdAt' THEN created_at
                END
            END DESC,
            CASE WHEN NOT $4 THEN
                CASE $3
                    WHEN 'expiresAt' THEN expires_at
                    WHEN 'usedAt' THEN used_at
                    WHEN 'createdAt' THEN created_at
                END
            END,
            CASE WHEN $4 THEN id END DESC,
            id
        LIMIT $5
        OFFSET $6
        "#,
        tenant_id,
        filter.used,
        sort.name(),
        direction.is_descending(),
        page.limit,
        page.offset,
    )
    .fetch_all(scope.connection())
    .await?;
    Listed::read(total, rows)
}
