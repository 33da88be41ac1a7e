//! Destinations: their URLs, settings, and whether they receive events.

use aggregates::destination::{AuthType, DestinationFact, Stage};
use aggregates::ids::{DestinationId, TenantId};
use aggregates::stored_enum;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::fold::{self, NotFolded, StreamRow};
use crate::listing::{List, list_filter, sort_fields};
use crate::logged_fact::LoggedFact;
use crate::paging::{Direction, Listed, Page};
use crate::read_model::read_model;
use crate::tenant_scope::TenantScope;

/// A destination, as callers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    pub id: DestinationId,
    pub tenant_id: TenantId,
    pub url: String,
    pub concurrency_limit: u32,
    /// How requests authenticate; `None`: they do not.
    pub auth_type: Option<AuthType>,
    pub stage: Stage,
    /// When the open circuit breaker allows a probe; `None`: it is not open.
    pub next_check_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// Version of its stream at which it is in this state.
    pub version: u64,
}

stored_enum! {
    /// Whether a destination receives events: `Inactive` if a user deactivated it, `Suspended` if its circuit
    /// breaker is open.
    pub enum DestinationStatus {
        Active = 0 => "Active",
        Inactive = 1 => "Inactive",
        Suspended = 2 => "Suspended",
    }
}

impl From<Stage> for DestinationStatus {
    fn from(stage: Stage) -> Self {
        match stage {
            Stage::Active | Stage::Probing => Self::Active,
            Stage::Inactive => Self::Inactive,
            Stage::Suspended => Self::Suspended,
        }
    }
}

list_filter! {
    /// Filter of the list of destinations.
    Filter {
        /// Only destinations of this status.
        status: one_of DestinationStatus => "Status", "status = {}";
    }
}

sort_fields! {
    /// What destinations can be sorted by.
    SortField {
        #[default]
        Id => "id", "id";
        TenantId => "tenantId", "tenant_id";
        Url => "url", "url";
        Status => "status", "status";
        ServerRateLimit => "serverRateLimit", "concurrency_limit";
        AuthType => "authType", "auth_type";
        CreatedAt => "createdAt", "created_at";
        UpdatedAt => "updatedAt", "updated_at";
    }
}

const LIST: List = List { table: "destinations", columns: Row::COLUMNS, condition: "true" };

read_model! {
    Destinations: table "destinations", facts DestinationFact;
    struct Row {
        id: Uuid,
        tenant_id: TenantId,
        url: String,
        concurrency_limit: u32,
        auth_type: Option<AuthType>,
        credentials_data_key: Option<Uuid>,
        credentials_ciphertext: Option<String>,
        stage: Stage,
        stage_version: i64,
        next_check_at: Option<DateTime<Utc>>,
        created_at: DateTime<Utc>,
        updated_at: DateTime<Utc>,
        version: i64,
    }
}

impl Row {
    fn enter(&mut self, stage: Stage, next_check_at: Option<DateTime<Utc>>) {
        self.stage = stage;
        // The version of the fact that is being folded.
        self.stage_version = self.version + 1;
        self.next_check_at = next_check_at;
    }
}

impl StreamRow for Row {
    type Fact = DestinationFact;

    fn begin(logged: &LoggedFact, fact: &DestinationFact) -> Option<Self> {
        let DestinationFact::DestinationRegistered { tenant_id, url, concurrency_limit, at, .. } = fact
        else {
            return None;
        };
        Some(Self {
            id: logged.stream_id,
            tenant_id: *tenant_id,
            url: url.clone(),
            concurrency_limit: *concurrency_limit,
            auth_type: None,
            credentials_data_key: None,
            credentials_ciphertext: None,
            stage: Stage::Active,
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
                self.concurrency_limit = *concurrency_limit;
                // Jobs of before are void, as after a change of the stage.
                self.stage_version = self.version + 1;
                *at
            }
            Fact::OutboundAuthConfigured { auth, at } => {
                self.auth_type = Some(auth.auth_type);
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
}

impl From<Row> for Destination {
    fn from(row: Row) -> Self {
        Self {
            id: row.id.into(),
            tenant_id: row.tenant_id,
            url: row.url,
            concurrency_limit: row.concurrency_limit,
            auth_type: row.auth_type,
            stage: row.stage,
            next_check_at: row.next_check_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
            version: row.version.unsigned_abs(),
        }
    }
}

/// Folds a whole stream into the destination that [`get`] returns once the stream has been applied.
///
/// # Errors
/// When a fact of the stream is missing.
pub fn of_stream(facts: &[LoggedFact]) -> Result<Option<Destination>, NotFolded> {
    fold::fold_stream::<Row, _>(facts)
}

/// Returns the tenant of a destination.
///
/// # Errors
/// When the database fails.
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

/// Returns a destination of the scope's tenant.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.destinations.get", level = "debug", skip_all, err(level = "debug"))]
pub async fn get(scope: &mut TenantScope, id: DestinationId) -> Result<Option<Destination>, sqlx::Error> {
    Ok(LIST.find::<Row>(scope, id.0).await?.map(Into::into))
}

/// Lists the destinations of the scope's tenant.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.destinations.list", level = "debug", skip_all, err(level = "debug"))]
pub async fn list(
    scope: &mut TenantScope,
    filter: Filter,
    sort: SortField,
    direction: Direction,
    page: Page,
) -> Result<Listed<Destination>, sqlx::Error> {
    LIST.read::<Row, _>(scope, filter, sort, direction, page).await
}
