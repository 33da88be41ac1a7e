//! Senders: the named sources of a destination, and their mappings.

use aggregates::fact::Fact;
use aggregates::ids::{DestinationId, SenderId, TenantId};
use aggregates::sender::SenderFact;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::fold::{self, ApplyFailure, NotFolded, StreamRow};
use crate::logged_fact::LoggedFact;
use crate::paging::{Direction, Listed, Page, sort_fields};
use crate::projection::ReadModel;
use crate::tenant_scope::TenantScope;

/// A sender, as callers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    pub id: SenderId,
    /// Where its events go.
    pub destination_id: DestinationId,
    /// Whose sender it is.
    pub tenant_id: TenantId,
    /// What people call it.
    pub label: Option<String>,
    /// Whether it has a mapping.
    pub has_mapping: bool,
    /// When it was registered.
    pub created_at: DateTime<Utc>,
    /// When anything of it changed last.
    pub updated_at: DateTime<Utc>,
}

/// A sender, living or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    pub sender: Sender,
    /// When it was deleted, if it was.
    pub deleted_at: Option<DateTime<Utc>>,
}

sort_fields! {
    /// What senders can be sorted by.
    SortField {
        #[default]
        Id => "id",
        DestinationId => "destinationId",
        TenantId => "tenantId",
        Label => "label",
        HasMapping => "hasMapping",
        CreatedAt => "createdAt",
        UpdatedAt => "updatedAt",
    }
}

struct Row {
    id: Uuid,
    tenant_id: Uuid,
    destination_id: Uuid,
    label: Option<String>,
    mapping: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    deleted_at: Option<DateTime<Utc>>,
    version: i64,
}

impl StreamRow for Row {
    type Fact = SenderFact;

    fn pick(fact: &Fact) -> Option<&SenderFact> {
        if let Fact::Sender(fact) = fact { Some(fact) } else { None }
    }

    fn begin(logged: &LoggedFact, fact: &SenderFact) -> Option<Self> {
        let SenderFact::SenderRegistered { tenant_id, destination_id, label, at, .. } = fact else {
            return None;
        };
        Some(Self {
            id: logged.stream_id,
            tenant_id: tenant_id.0,
            destination_id: destination_id.0,
            label: label.clone(),
            mapping: None,
            created_at: *at,
            updated_at: *at,
            deleted_at: None,
            version: 1,
        })
    }

    fn follow(&mut self, fact: &SenderFact) {
        self.updated_at = match fact {
            SenderFact::SenderRegistered { .. } => return,
            SenderFact::SenderIngestTokenRegenerated { at, .. } => *at,
            SenderFact::MappingSet { mapping, at } => {
                self.mapping = Some(mapping.clone());
                *at
            }
            SenderFact::MappingRemoved { at } => {
                self.mapping = None;
                *at
            }
            SenderFact::SenderDeleted { at } => {
                self.deleted_at = Some(*at);
                *at
            }
        };
    }

    fn stream_id(&self) -> Uuid {
        self.id
    }

    fn version(&mut self) -> &mut i64 {
        &mut self.version
    }
}

impl TryFrom<Row> for Past {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        let sender = Sender {
            id: row.id.into(),
            destination_id: row.destination_id.into(),
            tenant_id: row.tenant_id.into(),
            label: row.label,
            has_mapping: row.mapping.is_some(),
            created_at: row.created_at,
            updated_at: row.updated_at,
        };
        Ok(Self { sender, deleted_at: row.deleted_at })
    }
}

/// The sender that a stream shows, deleted ones included.
pub fn of_stream(facts: &[LoggedFact]) -> Result<Option<Past>, NotFolded> {
    fold::fold_stream::<Row, _>(facts)
}

/// The read model of this file.
#[derive(Debug)]
pub(crate) struct Senders;

impl ReadModel for Senders {
    const NAME: &'static str = "senders";
    const AGGREGATES: &'static [&'static str] = &["Sender"];

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

#[tracing::instrument(name = "db.senders.load", level = "trace", skip_all, err(level = "debug"))]
async fn load(connection: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"
        SELECT id, tenant_id, destination_id, label, mapping, created_at, updated_at, deleted_at, version
        FROM senders
        WHERE id = ANY($1)
        "#,
        ids,
    )
    .fetch_all(connection)
    .await
}

#[tracing::instrument(name = "db.senders.store", level = "trace", skip_all, err(level = "debug"))]
async fn store(connection: &mut PgConnection, rows: &[Row]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        INSERT INTO senders
            (id, tenant_id, destination_id, label, mapping, created_at, updated_at, deleted_at, version)
        SELECT *
        FROM unnest(
            $1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[],
            $6::timestamptz[], $7::timestamptz[], $8::timestamptz[], $9::bigint[]
        )
        ON CONFLICT (id) DO UPDATE SET
            mapping = excluded.mapping,
            updated_at = excluded.updated_at,
            deleted_at = excluded.deleted_at,
            version = excluded.version
        WHERE senders.version < excluded.version
        "#,
        &rows.iter().map(|row| row.id).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.tenant_id).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.destination_id).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.label.clone()).collect::<Vec<_>>() as &[Option<String>],
        &rows.iter().map(|row| row.mapping.clone()).collect::<Vec<_>>() as &[Option<String>],
        &rows.iter().map(|row| row.created_at).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.updated_at).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.deleted_at).collect::<Vec<_>>() as &[Option<DateTime<Utc>>],
        &rows.iter().map(|row| row.version).collect::<Vec<_>>(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The tenant of a sender that was not deleted.
#[tracing::instrument(name = "db.senders.owner_of", level = "debug", skip_all, err(level = "debug"))]
pub async fn owner_of(connection: &mut PgConnection, id: SenderId) -> Result<Option<TenantId>, sqlx::Error> {
    let owner =
        sqlx::query_scalar!("SELECT tenant_id FROM senders WHERE id = $1 AND deleted_at IS NULL", id.0)
            .fetch_optional(connection)
            .await?;
    Ok(owner.map(TenantId))
}

/// A living sender of the scope's tenant.
#[tracing::instrument(name = "db.senders.get", level = "debug", skip_all, err(level = "debug"))]
pub async fn get(scope: &mut TenantScope, id: SenderId) -> Result<Option<Sender>, sqlx::Error> {
    let tenant_id = scope.tenant_id().0;
    sqlx::query_as!(
        Sender,
        r#"
        SELECT
            id, destination_id, tenant_id, label, mapping IS NOT NULL AS "has_mapping!",
            created_at, updated_at
        FROM senders
        WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL
        "#,
        tenant_id,
        id.0,
    )
    .fetch_optional(scope.connection())
    .await
}

/// The mapping of a living sender of the scope's tenant, as JSON text with its keys in the order given;
/// `None` when there is no such sender or it has none.
#[tracing::instrument(name = "db.senders.mapping", level = "debug", skip_all, err(level = "debug"))]
pub async fn mapping(scope: &mut TenantScope, id: SenderId) -> Result<Option<String>, sqlx::Error> {
    let tenant_id = scope.tenant_id().0;
    let found = sqlx::query_scalar!(
        "SELECT mapping FROM senders WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL",
        tenant_id,
        id.0,
    )
    .fetch_optional(scope.connection())
    .await?;
    Ok(found.flatten())
}

/// The living senders of one of the scope's tenant's destinations.
#[tracing::instrument(name = "db.senders.list", level = "debug", skip_all, err(level = "debug"))]
pub async fn list(
    scope: &mut TenantScope,
    destination_id: DestinationId,
    sort: SortField,
    direction: Direction,
    page: Page,
) -> Result<Listed<Sender>, sqlx::Error> {
    let tenant_id = scope.tenant_id().0;
    let total = sqlx::query_scalar!(
        r#"
        SELECT count(*) AS "total!"
        FROM senders
        WHERE tenant_id = $1 AND destination_id = $2 AND deleted_at IS NULL
        "#,
        tenant_id,
        destination_id.0,
    )
    .fetch_one(scope.connection())
    .await?;
    let items = sqlx::query_as!(
        Sender,
        r#"
        SELECT
            id, destination_id, tenant_id, label, mapping IS NOT NULL AS "has_mapping!",
            created_at, updated_at
        FROM senders
        WHERE tenant_id = $1 AND destination_id = $2 AND deleted_at IS NULL
        ORDER BY
            CASE WHEN $4::bool AND $3::text = 'label' THEN label END DESC,
            CASE WHEN NOT $4 AND $3 = 'label' THEN label END,
            CASE WHEN $4 AND $3 = 'hasMapping' THEN mapping IS NOT NULL END DESC,
            CASE WHEN NOT $4 AND $3 = 'hasMapping' THEN mapping IS NOT NULL END,
            CASE WHEN $4 THEN CASE $3 WHEN 'createdAt' THEN created_at WHEN 'updatedAt' THEN updated_at END END DESC,
            CASE WHEN NOT $4 THEN CASE $3 WHEN 'createdAt' THEN created_at WHEN 'updatedAt' THEN updated_at END END,
            CASE WHEN $4 THEN id END DESC,
            id
        LIMIT $5
        OFFSET $6
        "#,
        tenant_id,
        destination_id.0,
        sort.name(),
        direction.is_descending(),
        page.limit,
        page.offset,
    )
    .fetch_all(scope.connection())
    .await?;
    Ok(Listed { total, items })
}
