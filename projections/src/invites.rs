//! Invites, pending, used and expired.

use aggregates::ids::{InviteId, TenantId};
use aggregates::invite::InviteFact;
use aggregates::role::Role;
use aggregates::sealed::{Sealed, TokenHash};
use aggregates::stored_enum;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::fold::StreamRow;
use crate::listing::{List, list_filter, sort_fields};
use crate::logged_fact::LoggedFact;
use crate::paging::{Direction, Listed, Page};
use crate::read_model::{self, read_model};
use crate::tenant_scope::TenantScope;

/// An invite, as callers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invite {
    pub id: InviteId,
    pub tenant_id: TenantId,
    pub token: Sealed,
    /// The role that the invited user gets.
    pub target_role: Role,
    pub expires_at: DateTime<Utc>,
    /// `None`: it is pending or expired.
    pub used_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
}

stored_enum! {
    /// Whether an invite was used.
    pub enum InviteStatus {
        /// Not used yet. It may have expired.
        Pending = 0 => "Pending",
        Used = 1 => "Used",
    }
}

impl Invite {
    #[must_use]
    pub fn status(&self) -> InviteStatus {
        if self.used_at.is_some() { InviteStatus::Used } else { InviteStatus::Pending }
    }
}

list_filter! {
    /// Filter of the list of invites.
    Filter {
        /// Only invites of this status.
        status: one_of InviteStatus => "Status", "(used_at IS NOT NULL)::int = {}";
    }
}

sort_fields! {
    /// What invites can be sorted by.
    SortField {
        #[default]
        Id => "id", "id";
        TenantId => "tenantId", "tenant_id";
        // Tokens are sealed: their order must not be visible. That of their hashes may be.
        Token => "token", "token_hash";
        TargetRole => "targetRole", "target_role";
        ExpiresAt => "expiresAt", "expires_at";
        UsedAt => "usedAt", "used_at";
        Status => "status", "(used_at IS NOT NULL)";
        CreatedAt => "createdAt", "created_at";
    }
}

const LIST: List = List { table: "invites", columns: Row::COLUMNS, condition: "true" };

read_model! {
    Invites: table "invites", facts InviteFact;
    struct Row {
        id: Uuid,
        tenant_id: TenantId,
        target_role: Role,
        token_hash: String,
        token_data_key: Uuid,
        token_ciphertext: String,
        expires_at: DateTime<Utc>,
        created_at: DateTime<Utc>,
        used_at: Option<DateTime<Utc>>,
        version: i64,
    }
}

impl StreamRow for Row {
    type Fact = InviteFact;

    fn begin(logged: &LoggedFact, fact: &InviteFact) -> Option<Self> {
        let InviteFact::InviteIssued { tenant_id, target_role, token_hash, token, expires_at, at } = fact
        else {
            return None;
        };
        Some(Self {
            id: logged.stream_id,
            tenant_id: *tenant_id,
            target_role: *target_role,
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
}

impl From<Row> for Invite {
    fn from(row: Row) -> Self {
        Self {
            id: row.id.into(),
            tenant_id: row.tenant_id,
            token: Sealed { data_key: row.token_data_key, ciphertext: row.token_ciphertext },
            target_role: row.target_role,
            expires_at: row.expires_at,
            used_at: row.used_at,
            created_at: row.created_at,
        }
    }
}

/// Returns the invite whose token has this hash, used and expired ones included.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.invites.by_token", level = "debug", skip_all, err(level = "debug"))]
pub async fn by_token(
    connection: &mut PgConnection,
    hash: &TokenHash,
) -> Result<Option<Invite>, sqlx::Error> {
    let query = read_model::select::<Row>("token_hash = $1");
    let row: Option<Row> = sqlx::query_as(&query).bind(&hash.0).fetch_optional(connection).await?;
    Ok(row.map(Into::into))
}

/// Returns an invite of the scope's tenant.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.invites.get", level = "debug", skip_all, err(level = "debug"))]
pub async fn get(scope: &mut TenantScope, id: InviteId) -> Result<Option<Invite>, sqlx::Error> {
    Ok(LIST.find::<Row>(scope, id.0).await?.map(Into::into))
}

/// Lists the invites of the scope's tenant.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.invites.list", level = "debug", skip_all, err(level = "debug"))]
pub async fn list(
    scope: &mut TenantScope,
    filter: Filter,
    sort: SortField,
    direction: Direction,
    page: Page,
) -> Result<Listed<Invite>, sqlx::Error> {
    LIST.read::<Row, _>(scope, filter, sort, direction, page).await
}
