//! Portal links, with which customers of a tenant see the deliveries of one destination.

use aggregates::ids::{DestinationId, PortalLinkId, TenantId};
use aggregates::portal_link::{PortalAccess, PortalLinkFact};
use aggregates::sealed::TokenHash;
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
    /// A portal link, as users see it.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct PortalLink {
        pub id: PortalLinkId,
        pub destination_id: DestinationId,
        pub access: PortalAccess,
        pub label: String,
        pub expires_at: DateTime<Utc>,
        pub created_at: DateTime<Utc>,
        pub revoked_at: Option<DateTime<Utc>>,
    }
}

/// A link that is not revoked. It may have expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnrevokedPortalLink {
    pub id: PortalLinkId,
    pub tenant_id: TenantId,
    pub destination_id: DestinationId,
    pub access: PortalAccess,
    pub expires_at: DateTime<Utc>,
    pub tenant_is_suspended: bool,
}

list_filter! {
    /// Filter of the list of portal links.
    Filter {
        /// Only links to this destination.
        destination: id DestinationId => "DestinationId", "destination_id = {}";
        /// `true`: only links in force; `false`: only expired and revoked ones.
        active: flag => "IsActive", "(revoked_at IS NULL AND expires_at > now()) = {}";
    }
}

sort_fields! {
    /// What portal links can be sorted by.
    SortField {
        #[default]
        Id => "id", "id";
        Label => "label", "label";
        ExpiresAt => "expiresAt", "expires_at";
        CreatedAt => "createdAt", "created_at";
        RevokedAt => "revokedAt", "revoked_at";
    }
}

const LIST: List = List { table: "portal_links", columns: PortalLink::COLUMNS, condition: "true" };

read_model! {
    PortalLinks: table "portal_links", facts PortalLinkFact;
    struct Row {
        id: Uuid,
        tenant_id: TenantId,
        destination_id: DestinationId,
        access: PortalAccess,
        label: String,
        token_hash: String,
        expires_at: DateTime<Utc>,
        created_at: DateTime<Utc>,
        revoked_at: Option<DateTime<Utc>>,
        version: i64,
    }
}

impl StreamRow for Row {
    type Fact = PortalLinkFact;

    fn begin(logged: &LoggedFact, fact: &PortalLinkFact) -> Option<Self> {
        let PortalLinkFact::PortalLinkCreated {
            tenant_id,
            destination_id,
            access,
            label,
            token_hash,
            expires_at,
            at,
        } = fact
        else {
            return None;
        };
        Some(Self {
            id: logged.stream_id,
            tenant_id: *tenant_id,
            destination_id: *destination_id,
            access: *access,
            label: label.clone(),
            token_hash: token_hash.0.clone(),
            expires_at: *expires_at,
            created_at: *at,
            revoked_at: None,
            version: 1,
        })
    }

    fn follow(&mut self, fact: &PortalLinkFact) {
        match fact {
            PortalLinkFact::PortalLinkCreated { .. } => {}
            PortalLinkFact::PortalLinkRevoked { at } => self.revoked_at = Some(*at),
        }
    }
}

/// Returns the tenant of a link that is not revoked.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.portal_links.owner_of", level = "debug", skip_all, err(level = "debug"))]
pub async fn owner_of(
    connection: &mut PgConnection,
    id: PortalLinkId,
) -> Result<Option<TenantId>, sqlx::Error> {
    let owner =
        sqlx::query_scalar!("SELECT tenant_id FROM portal_links WHERE id = $1 AND revoked_at IS NULL", id.0)
            .fetch_optional(connection)
            .await?;
    Ok(owner.map(TenantId))
}

/// Returns the link of a hash, unless it is revoked, even if its row does not show that yet.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.portal_links.by_hash", level = "debug", skip_all, err(level = "debug"))]
pub async fn by_hash(
    connection: &mut PgConnection,
    hash: &TokenHash,
) -> Result<Option<UnrevokedPortalLink>, sqlx::Error> {
    sqlx::query_as!(
        UnrevokedPortalLink,
        r#"
        SELECT
            link.id, link.tenant_id, link.destination_id, link.access AS "access: Stored<PortalAccess>",
            link.expires_at,
            (
                tenant.suspended_at IS NOT NULL
                OR tenant.version < coalesce((SELECT version FROM revocations WHERE stream_id = tenant.id), 0)
            ) IS TRUE AS "tenant_is_suspended!"
        FROM portal_links AS link
        LEFT JOIN tenants AS tenant ON tenant.id = link.tenant_id
        WHERE link.token_hash = $1
          AND link.revoked_at IS NULL
          AND link.version >= coalesce((SELECT version FROM revocations WHERE stream_id = link.id), 0)
        "#,
        hash.0,
    )
    .fetch_optional(connection)
    .await
}

/// Returns a link of the scope's tenant, in force or not.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.portal_links.get", level = "debug", skip_all, err(level = "debug"))]
pub async fn get(scope: &mut TenantScope, id: PortalLinkId) -> Result<Option<PortalLink>, sqlx::Error> {
    LIST.find(scope, id.0).await
}

/// Lists the links of the scope's tenant.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.portal_links.list", level = "debug", skip_all, err(level = "debug"))]
pub async fn list(
    scope: &mut TenantScope,
    filter: Filter,
    sort: SortField,
    direction: Direction,
    page: Page,
) -> Result<Listed<PortalLink>, sqlx::Error> {
    LIST.read(scope, filter, sort, direction, page).await
}
