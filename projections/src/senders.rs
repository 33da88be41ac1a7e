//! Senders: the named sources of a destination, and their mappings.

use aggregates::ids::{DestinationId, SenderId, TenantId};
use aggregates::sender::SenderFact;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::fold::{self, NotFolded, StreamRow};
use crate::listing::{List, list_filter, sort_fields};
use crate::logged_fact::LoggedFact;
use crate::paging::{Direction, Listed, Page};
use crate::read_model::{read_model, selected};
use crate::tenant_scope::TenantScope;

selected! {
    /// A sender, as callers see it.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Sender {
        pub id: SenderId,
        pub destination_id: DestinationId,
        pub tenant_id: TenantId,
        pub label: Option<String>,
        pub has_mapping: bool = "(mapping IS NOT NULL)",
        pub created_at: DateTime<Utc>,
        pub updated_at: DateTime<Utc>,
    }
}

/// A sender that may have been deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SenderWithDeletion {
    pub sender: Sender,
    pub deleted_at: Option<DateTime<Utc>>,
}

list_filter! {
    /// Filter of the list of senders.
    Filter {
        /// Only senders of this destination.
        destination_id: id DestinationId => "DestinationId", "destination_id = {}";
    }
}

sort_fields! {
    /// What senders can be sorted by.
    SortField {
        #[default]
        Id => "id", "id";
        DestinationId => "destinationId", "destination_id";
        TenantId => "tenantId", "tenant_id";
        Label => "label", "label";
        HasMapping => "hasMapping", "(mapping IS NOT NULL)";
        CreatedAt => "createdAt", "created_at";
        UpdatedAt => "updatedAt", "updated_at";
    }
}

const LIST: List = List { table: "senders", columns: Sender::COLUMNS, condition: "deleted_at IS NULL" };

read_model! {
    Senders: table "senders", facts SenderFact;
    struct Row {
        id: Uuid,
        tenant_id: TenantId,
        destination_id: DestinationId,
        label: Option<String>,
        mapping: Option<String>,
        created_at: DateTime<Utc>,
        updated_at: DateTime<Utc>,
        deleted_at: Option<DateTime<Utc>>,
        version: i64,
    }
}

impl StreamRow for Row {
    type Fact = SenderFact;

    fn begin(logged: &LoggedFact, fact: &SenderFact) -> Option<Self> {
        let SenderFact::SenderRegistered { tenant_id, destination_id, label, at, .. } = fact else {
            return None;
        };
        Some(Self {
            id: logged.stream_id,
            tenant_id: *tenant_id,
            destination_id: *destination_id,
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
}

impl From<Row> for SenderWithDeletion {
    fn from(row: Row) -> Self {
        let sender = Sender {
            id: row.id.into(),
            destination_id: row.destination_id,
            tenant_id: row.tenant_id,
            label: row.label,
            has_mapping: row.mapping.is_some(),
            created_at: row.created_at,
            updated_at: row.updated_at,
        };
        Self { sender, deleted_at: row.deleted_at }
    }
}

/// Folds a whole stream into the sender, deleted or not.
///
/// # Errors
/// When a fact of the stream is missing.
pub fn of_stream(facts: &[LoggedFact]) -> Result<Option<SenderWithDeletion>, NotFolded> {
    fold::fold_stream::<Row, _>(facts)
}

/// Returns the tenant of a sender that is not deleted.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.senders.owner_of", level = "debug", skip_all, err(level = "debug"))]
pub async fn owner_of(connection: &mut PgConnection, id: SenderId) -> Result<Option<TenantId>, sqlx::Error> {
    let owner =
        sqlx::query_scalar!("SELECT tenant_id FROM senders WHERE id = $1 AND deleted_at IS NULL", id.0)
            .fetch_optional(connection)
            .await?;
    Ok(owner.map(TenantId))
}

/// Returns a sender of the scope's tenant that is not deleted.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.senders.get", level = "debug", skip_all, err(level = "debug"))]
pub async fn get(scope: &mut TenantScope, id: SenderId) -> Result<Option<Sender>, sqlx::Error> {
    LIST.find(scope, id.0).await
}

/// Returns the mapping of a sender of the scope's tenant, as JSON text with its keys in the order given;
/// `None`: the sender does not exist, is deleted or has no mapping.
///
/// # Errors
/// When the database fails.
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

/// Lists the senders of a destination of the scope's tenant that are not deleted.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.senders.list", level = "debug", skip_all, err(level = "debug"))]
pub async fn list(
    scope: &mut TenantScope,
    destination_id: DestinationId,
    sort: SortField,
    direction: Direction,
    page: Page,
) -> Result<Listed<Sender>, sqlx::Error> {
    let filter = Filter { destination_id: Some(destination_id) };
    LIST.read(scope, filter, sort, direction, page).await
}
