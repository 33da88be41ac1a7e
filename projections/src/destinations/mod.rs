//! Destinations: where webhook events go, and whether they can.

mod status;

use aggregates::destination::{AuthType, DestinationFact, Stage};
use aggregates::fact::Fact;
use aggregates::ids::{DestinationId, TenantId};
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

pub use status::Status;

use crate::columns::{auth_type, auth_type_number, count, stage, stage_number, version};
use crate::fold::{self, ApplyFailure, NotFolded, StreamRow};
use crate::logged_fact::LoggedFact;
use crate::paging::{Direction, Listed, Page, sort_fields};
use crate::projection::ReadModel;
use crate::tenant_scope::TenantScope;

/// A destination, as callers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    pub id: DestinationId,
    /// Whose destination it is.
    pub tenant_id: TenantId,
    /// Where requests go, as given.
    pub url: String,
    pub concurrency_limit: u32,
    /// How requests prove themselves.
    pub auth_type: Option<AuthType>,
    pub stage: Stage,
    /// When the open breaker lets a probe through.
    pub next_check_at: Option<DateTime<Utc>>,
    /// When it was registered.
    pub created_at: DateTime<Utc>,
    /// When anything of it changed last.
    pub updated_at: DateTime<Utc>,
    /// Version of its stream that this shows.
    pub version: u64,
}

/// Which destinations to list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only of this status.
    pub status: Option<Status>,
}

sort_fields! {
    /// What destinations can be sorted by.
    SortField {
        #[default]
        Id => "id",
        TenantId => "tenantId",
        Url => "url",
        Status => "status",
        ServerRateLimit => "serverRateLimit",
        AuthType => "authType",
        CreatedAt => "createdAt",
        UpdatedAt => "updatedAt",
    }
}

struct Row {
    id: Uuid,
    tenant_id: Uuid,
    url: String,
    concurrency_limit: i64,
    auth_type: Option<i16>,
    credentials_data_key: Option<Uuid>,
    credentials_ciphertext: Option<String>,
    stage: i16,
    stage_version: i64,
    next_check_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    version: i64,
}

impl Row {
    fn enter(&mut self, stage: Stage, next_check_at: Option<DateTime<Utc>>) {
        self.stage = stage_number(stage);
        // The version of the fact that is being folded.
        self.stage_version = self.version + 1;
        self.next_check_at = next_check_at;
    }
}

impl StreamRow for Row {
    type Fact = DestinationFact;

    fn pick(fact: &Fact) -> Option<&DestinationFact> {
        if let Fact::Destination(fact) = fact { Some(fact) } else { None }
    }

    fn begin(logged: &LoggedFact, fact: &DestinationFact) -> Option<Self> {
        let DestinationFact::DestinationRegistered { tenant_id, url, concurrency_limit, at, .. } = fact
        else {
            return None;
        };
        Some(Self {
            id: logged.stream_id,
            tenant_id: tenant_id.0,
            url: url.clone(),
            concurrency_limit: (*concurrency_limit).into(),
            auth_type: None,
            credentials_data_key: None,
            credentials_ciphertext: None,
            stage: stage_number(Stage::Active),
            stage_version: 1,
            next_check_at: None,
            created_at: *at,
            updated_at: *at,
            version: 1,
        })
    }

    fn follow(&mut self, fact: &DestinationFact) {
        use DestinationFact as Fact;
        self.updated_at = match fact {
            Fact::DestinationRegistered { .. } => return,
            Fact::DestinationUrlChanged { url, at } => {
                self.url.clone_from(url);
                *at
            }
            Fact::ConcurrencyLimitChanged { concurrency_limit, at } => {
                self.concurrency_limit = (*concurrency_limit).into();
                *at
            }
            Fact::OutboundAuthConfigured { auth, at } => {
                self.auth_type = Some(auth_type_number(auth.auth_type));
                self.credentials_data_key = Some(auth.credentials.data_key);
                self.credentials_ciphertext = Some(auth.credentials.ciphertext.clone());
                *at
            }
            Fact::OutboundAuthRemoved { at } => {
                self.auth_type = None;
                self.credentials_data_key = None;
                self.credentials_ciphertext = None;
                *at
            }
            Fact::DestinationActivated { at } | Fact::DestinationResumed { at } => {
                self.enter(Stage::Active, None);
                *at
            }
            Fact::DestinationDeactivated { at } => {
                self.enter(Stage::Inactive, None);
                *at
            }
            Fact::DestinationSuspended { next_check_at, at, .. } => {
                self.enter(Stage::Suspended, Some(*next_check_at));
                *at
            }
            Fact::DestinationProbed { at } => {
                self.enter(Stage::Probing, None);
                *at
            }
            Fact::IngestTokenRegenerated { at, .. } => *at,
        };
    }

    fn stream_id(&self) -> Uuid {
        self.id
    }

    fn version(&mut self) -> &mut i64 {
        &mut self.version
    }
}

impl TryFrom<Row> for Destination {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.id.into(),
            tenant_id: row.tenant_id.into(),
            url: row.url,
            concurrency_limit: count("concurrency_limit", row.concurrency_limit)?,
            auth_type: row.auth_type.map(|number| auth_type("auth_type", number)).transpose()?,
            stage: stage("stage", row.stage)?,
            next_check_at: row.next_check_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
            version: version("version", row.version)?,
        })
    }
}

/// The destination that a stream shows: what [`get`] answered when the stream ended there.
pub fn of_stream(facts: &[LoggedFact]) -> Result<Option<Destination>, NotFolded> {
    fold::fold_stream::<Row, _>(facts)
}

/// The read model of this file.
#[derive(Debug)]
pub(crate) struct Destinations;

impl ReadModel for Destinations {
    const NAME: &'static str = "destinations";
    const AGGREGATES: &'static [&'static str] = &["Destination"];

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

#[tracing::instrument(name = "db.destinations.load", level = "trace", skip_all, err(level = "debug"))]
async fn load(connection: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"
        SELECT
            id, tenant_id, url, concurrency_limit, auth_type, credentials_data_key,
            credentials_ciphertext, stage, stage_version, next_check_at, created_at, updated_at, version
        FROM destinations
        WHERE id = ANY($1)
        "#,
        ids,
    )
    .fetch_all(connection)
    .await
}

#[tracing::instrument(name = "db.destinations.store", level = "trace", skip_all, err(level = "debug"))]
async fn store(connection: &mut PgConnection, rows: &[Row]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        INSERT INTO destinations (
            id, tenant_id, url, concurrency_limit, auth_type, credentials_data_key,
            credentials_ciphertext, stage, stage_version, next_check_at, created_at, updated_at, version
        )
        SELECT *
        FROM unnest(
            $1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::smallint[], $6::uuid[],
            $7::text[], $8::smallint[], $9::bigint[], $10::timestamptz[], $11::timestamptz[],
            $12::timestamptz[], $13::bigint[]
        )
        ON CONFLICT (id) DO UPDATE SET
            url = excluded.url,
            concurrency_limit = excluded.concurrency_limit,
            auth_type = excluded.auth_type,
            credentials_data_key = excluded.credentials_data_key,
            credentials_ciphertext = excluded.credentials_ciphertext,
            stage = excluded.stage,
            stage_version = excluded.stage_version,
            next_check_at = excluded.next_check_at,
            updated_at = excluded.updated_at,
            version = excluded.version
        WHERE destinations.version < excluded.version
        "#,
        &rows.iter().map(|row| row.id).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.tenant_id).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.url.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.concurrency_limit).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.auth_type).collect::<Vec<_>>() as &[Option<i16>],
        &rows.iter().map(|row| row.credentials_data_key).collect::<Vec<_>>() as &[Option<Uuid>],
        &rows.iter().map(|row| row.credentials_ciphertext.clone()).collect::<Vec<_>>() as &[Option<String>],
        &rows.iter().map(|row| row.stage).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.stage_version).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.next_check_at).collect::<Vec<_>>() as &[Option<DateTime<Utc>>],
        &rows.iter().map(|row| row.created_at).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.updated_at).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.version).collect::<Vec<_>>(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The tenant of a destination.
#[tracing::instrument(name = "db.destinations.owner_of", level = "debug", skip_all, err(level = "debug"))]
pub async fn owner_of(
    connection: &mut PgConnection,
    id: DestinationId,
) -> Result<Option<TenantId>, sqlx::Error> {
    let owner = sqlx::query_scalar!("SELECT tenant_id FROM destinations WHERE id = $1", id.0)
        .fetch_optional(connection)
        .await?;
    Ok(owner.map(TenantId))
}

/// A destination of the scope's tenant.
#[tracing::instrument(name = "db.destinations.get", level = "debug", skip_all, err(level = "debug"))]
pub async fn get(scope: &mut TenantScope, id: DestinationId) -> Result<Option<Destination>, sqlx::Error> {
    let tenant_id = scope.tenant_id().0;
    sqlx::query_as!(
        Row,
        r#"
        SELECT
            id, tenant_id, url, concurrency_limit, auth_type, credentials_data_key,
            credentials_ciphertext, stage, stage_version, next_check_at, created_at, updated_at, version
        FROM destinations
        WHERE tenant_id = $1 AND id = $2
        "#,
        tenant_id,
        id.0,
    )
    .fetch_optional(scope.connection())
    .await?
    .map(Destination::try_from)
    .transpose()
}

/// The destinations of the scope's tenant.
#[tracing::instrument(name = "db.destinations.list", level = "debug", skip_all, err(level = "debug"))]
pub async fn list(
    scope: &mut TenantScope,
    filter: Filter,
    sort: SortField,
    direction: Direction,
    page: Page,
) -> Result<Listed<Destination>, sqlx::Error> {
    let tenant_id = scope.tenant_id().0;
    let status = filter.status.map(Status::number);
    let total = sqlx::query_scalar!(
        r#"
        SELECT count(*) AS "total!"
        FROM destinations
        WHERE tenant_id = $1
          AND ($2::smallint IS NULL OR status = $2)
        "#,
        tenant_id,
        status,
    )
    .fetch_one(scope.connection())
    .await?;
    let rows = sqlx::query_as!(
        Row,
        r#"
        SELECT
            id, tenant_id, url, concurrency_limit, auth_type, credentials_data_key,
            credentials_ciphertext, stage, stage_version, next_check_at, created_at, updated_at, version
        FROM destinations
        WHERE tenant_id = $1
          AND ($2::smallint IS NULL OR status = $2)
        ORDER BY
            CASE WHEN $4::bool AND $3::text = 'url' THEN url END DESC,
            CASE WHEN NOT $4 AND $3 = 'url' THEN url END,
            CASE WHEN $4 THEN
                CASE $3
                    WHEN 'status' THEN status
                    WHEN 'serverRateLimit' THEN concurrency_limit
                    WHEN 'authType' THEN auth_type
                END
            END DESC,
            CASE WHEN NOT $4 THEN
                CASE $3
                    WHEN 'status' THEN status
                    WHEN 'serverRateLimit' THEN concurrency_limit
                    WHEN 'authType' THEN auth_type
                END
            END,
            CASE WHEN $4 THEN CASE $3 WHEN 'createdAt' THEN created_at WHEN 'updatedAt' THEN updated_at END END DESC,
            CASE WHEN NOT $4 THEN CASE $3 WHEN 'createdAt' THEN created_at WHEN 'updatedAt' THEN updated_at END END,
            CASE WHEN $4 THEN id END DESC,
            id
        LIMIT $5
        OFFSET $6
        "#,
        tenant_id,
        status,
        sort.name(),
        direction.is_descending(),
        page.limit,
        page.offset,
    )
    .fetch_all(scope.connection())
    .await?;
    Listed::read(total, rows)
}
