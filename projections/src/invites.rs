//! Invites, pending, used and expired.

use aggregates::ids::{InviteId, TenantId, UserId};
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
    pub revoked_at: Option<DateTime<Utc>>,
    /// `None`: the fact did not record it.
    pub issued_by: Option<UserId>,
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

/// Invites that are used or can still be: those whose issuer may not invite any more, or was deactivated since, have
/// ended, as `aggregates::invite` says.
const LIST: List = List {
    table: "invites",
    columns: Row::COLUMNS,
    condition: "revoked_at IS NULL AND (used_at IS NOT NULL OR issued_by IS NULL OR EXISTS ( \
        SELECT FROM users WHERE users.id = invites.issued_by AND users.deleted_at IS NULL AND users.status = 0 \
        AND (users.deactivated_at IS NULL OR users.deactivated_at < invites.created_at) \
        AND (users.role = 10 OR (users.role = 1 AND target_role <> 1))))",
};

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
        revoked_at: Option<DateTime<Utc>>,
        issued_by: Option<UserId>,
        version: i64,
    }
}

impl StreamRow for Row {
    type Fact = InviteFact;

    fn begin(logged: &LoggedFact, fact: &InviteFact) -> Option<Self> {
        let InviteFact::InviteIssued { tenant_id, target_role, issued_by, token_hash, token, expires_at, at } =
            fact
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
            revoked_at: None,
            issued_by: *issued_by,
            version: 1,
        })
    }

    fn follow(&mut self, fact: &InviteFact) {
        match fact {
            InviteFact::InviteIssued { .. } => {}
            InviteFact::InviteAccepted { at, .. } => self.used_at = Some(*at),
            InviteFact::InviteRevoked { at } => self.revoked_at = Some(*at),
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
            revoked_at: row.revoked_at,
            issued_by: row.issued_by,
            created_at: row.created_at,
        }
    }
}

/// Returns the invite whose token has this hash, used, expired and revoked ones included.
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

/// Returns the tenant of an invite.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.invites.owner_of", level = "debug", skip_all, err(level = "debug"))]
pub async fn owner_of(connection: &mut PgConnection, id: InviteId) -> Result<Option<TenantId>, sqlx::Error> {
    let owner = sqlx::query_scalar!("SELECT tenant_id FROM invites WHERE id = $1", id.0)
        .fetch_optional(connection)
        .await?;
    Ok(owner.map(TenantId))
}

/// Returns an invite of the scope's tenant that is used or can still be.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.invites.get", level = "debug", skip_all, err(level = "debug"))]
pub async fn get(scope: &mut TenantScope, id: InviteId) -> Result<Option<Invite>, sqlx::Error> {
    Ok(LIST.find::<Row>(scope, id.0).await?.map(Into::into))
}

/// Lists the invites of the scope's tenant that are used or can still be.
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
