//! Sessions: logins, open and closed.

use aggregates::email::Email;
use aggregates::ids::{SessionId, TenantId, UserId};
use aggregates::role::{Role, UserStatus};
use aggregates::sealed::TokenHash;
use aggregates::session::{Session, SessionFact};
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use thiserror::Error;
use uuid::Uuid;

use crate::columns::Stored;
use crate::fold::{self, SequenceGap, StreamRow};
use crate::listing::{List, list_filter, sort_fields};
use crate::log_rows;
use crate::logged_fact::{LoggedFact, UnreadableRow};
use crate::paging::{Direction, Listed, Page};
use crate::read_model::{self, read_model, selected};
use crate::tenant_scope::TenantScope;

/// Maximum number of facts that a row may lack to be brought up to date by a request. The append of a request that has
/// not read the last fact conflicts.
const MISSING_FACTS_MAX: i64 = 100;

/// The active user of an open session, as the user is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionUser {
    pub user_id: UserId,
    pub tenant_id: TenantId,
    pub email: Email,
    pub role: Role,
    /// `false`: the user's row lacks a change that takes a right away, and must not be used to admit the user.
    pub is_current: bool,
    pub tenant_is_suspended: bool,
}

/// A session as its stream is now, not only as its row shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentSession {
    pub tenant_id: TenantId,
    pub user_id: UserId,
    pub token_family_hash: TokenHash,
    pub opened_at: DateTime<Utc>,
    pub state: Session,
    /// Version of the stream.
    pub version: u64,
}

/// Why the current state of a session could not be read.
#[derive(Debug, Error)]
pub enum CurrentSessionFailure {
    #[error(transparent)]
    SequenceGap(#[from] SequenceGap),
    #[error(transparent)]
    Unreadable(#[from] UnreadableRow),
    #[error("the session cannot be read")]
    Database(#[from] sqlx::Error),
}

selected! {
    /// An open session, as its user sees it.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct OpenSession {
        pub id: SessionId,
        pub user_id: UserId,
        pub opened_at: DateTime<Utc>,
        pub expires_at: DateTime<Utc>,
    }
}

list_filter! {
    /// Filter of the list of open sessions.
    Filter {
        /// Only sessions of this user.
        user: id UserId => "UserId", "user_id = {}";
    }
}

sort_fields! {
    /// What sessions can be sorted by.
    SortField {
        #[default]
        Id => "id", "id";
        OpenedAt => "openedAt", "opened_at";
        ExpiresAt => "expiresAt", "expires_at";
    }
}

const LIST: List = List {
    table: "sessions",
    columns: OpenSession::COLUMNS,
    condition: "closed_at IS NULL AND expires_at > now() AND credentials_version >= \
        (SELECT users.credentials_version FROM users WHERE users.id = sessions.user_id)",
};

read_model! {
    Sessions: table "sessions", facts SessionFact;
    struct Row {
        id: Uuid,
        tenant_id: TenantId,
        user_id: UserId,
        credentials_version: u64,
        token_family_hash: String,
        refresh_token_hash: String,
        expires_at: DateTime<Utc>,
        opened_at: DateTime<Utc>,
        closed_at: Option<DateTime<Utc>>,
        version: i64,
    }
}

impl StreamRow for Row {
    type Fact = SessionFact;

    fn begin(logged: &LoggedFact, fact: &SessionFact) -> Option<Self> {
        let SessionFact::LoggedIn { tenant_id, user_id, credentials_version, token_family_hash, tokens, at } =
            fact
        else {
            return None;
        };
        Some(Self {
            id: logged.stream_id,
            tenant_id: *tenant_id,
            user_id: *user_id,
            credentials_version: *credentials_version,
            token_family_hash: token_family_hash.0.clone(),
            refresh_token_hash: tokens.refresh_token_hash.0.clone(),
            expires_at: tokens.refresh_expires_at,
            opened_at: *at,
            closed_at: None,
            version: 1,
        })
    }

    fn follow(&mut self, fact: &SessionFact) {
        match fact {
            SessionFact::LoggedIn { .. } => {}
            SessionFact::SessionRefreshed { tokens, .. } => {
                self.refresh_token_hash.clone_from(&tokens.refresh_token_hash.0);
                self.expires_at = tokens.refresh_expires_at;
            }
            SessionFact::LoggedOut { at, .. } => self.closed_at = Some(*at),
        }
    }
}

impl From<Row> for CurrentSession {
    fn from(row: Row) -> Self {
        Self {
            tenant_id: row.tenant_id,
            user_id: row.user_id,
            token_family_hash: TokenHash(row.token_family_hash),
            opened_at: row.opened_at,
            state: match row.closed_at {
                Some(_) => Session::Closed,
                None => Session::Open {
                    user_id: row.user_id,
                    refresh_token_hash: TokenHash(row.refresh_token_hash),
                    expires_at: row.expires_at,
                },
            },
            version: u64::try_from(row.version).unwrap_or_default(),
        }
    }
}

/// Returns the user of a session; `None`: the session is closed, or the user is inactive or deleted or has a new
/// password.
///
/// Every authenticated request calls this, so that a logout, a deactivation or a new role takes effect with
/// the next request. It compares the rows with the revocations, because the rows may be behind the log.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.sessions.user", level = "debug", skip_all, err(level = "debug"))]
pub async fn user(connection: &mut PgConnection, id: SessionId) -> Result<Option<SessionUser>, sqlx::Error> {
    sqlx::query_as!(
        SessionUser,
        r#"
        SELECT
            users.id AS user_id, users.tenant_id, user_emails.email AS "email: Stored<Email>",
            users.role AS "role: Stored<Role>",
            users.version >= coalesce((SELECT version FROM revocations WHERE stream_id = users.id), 0)
                AS "is_current!",
            (
                tenants.suspended_at IS NOT NULL
                OR tenants.version < coalesce((SELECT version FROM revocations WHERE stream_id = tenants.id), 0)
            ) IS TRUE AS "tenant_is_suspended!"
        FROM sessions
        JOIN users ON users.id = sessions.user_id
        JOIN user_emails ON user_emails.user_id = users.id AND user_emails.version = users.email_version
        LEFT JOIN tenants ON tenants.id = users.tenant_id
        WHERE sessions.id = $1
          AND sessions.closed_at IS NULL
          AND sessions.version >= coalesce((SELECT version FROM revocations WHERE stream_id = sessions.id), 0)
          AND sessions.credentials_version >= users.credentials_version
          AND users.deleted_at IS NULL
          AND users.status = $2
        "#,
        id.0,
        UserStatus::Active.number(),
    )
    .fetch_optional(connection)
    .await
}

/// Returns a session from its row and the facts that the row lacks, so that a session with a long stream need not be
/// loaded from the log. `None`: its login is not shown yet, or there is no such session.
///
/// # Errors
/// When the database fails, or the facts do not follow from the row.
#[tracing::instrument(name = "db.sessions.current", level = "debug", skip_all, err(level = "debug"))]
pub async fn current(
    connection: &mut PgConnection,
    id: SessionId,
) -> Result<Option<CurrentSession>, CurrentSessionFailure> {
    let query = read_model::select::<Row>("id = $1");
    let row: Option<Row> = sqlx::query_as(&query).bind(id.0).fetch_optional(&mut *connection).await?;
    let Some(row) = row else { return Ok(None) };
    let missing = log_rows!(
        r#"
        FROM events
        WHERE aggregate_type = 'Session' AND aggregate_id = $1 AND sequence > $2
        ORDER BY sequence
        LIMIT $3
        "#,
        id.to_string(),
        row.version,
        MISSING_FACTS_MAX,
    )
    .fetch_all(connection)
    .await?;
    let missing = missing.into_iter().map(LoggedFact::try_from).collect::<Result<Vec<_>, _>>()?;
    let folded = fold::fold(vec![row.clone()], &missing)?.pop();
    Ok(Some(folded.unwrap_or(row).into()))
}

/// Returns the tenant of a session, open or closed.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.sessions.owner_of", level = "debug", skip_all, err(level = "debug"))]
pub async fn owner_of(connection: &mut PgConnection, id: SessionId) -> Result<Option<TenantId>, sqlx::Error> {
    let owner = sqlx::query_scalar!("SELECT tenant_id FROM sessions WHERE id = $1", id.0)
        .fetch_optional(connection)
        .await?;
    Ok(owner.map(TenantId))
}

/// Returns an open session of the scope's tenant.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.sessions.get", level = "debug", skip_all, err(level = "debug"))]
pub async fn get(scope: &mut TenantScope, id: SessionId) -> Result<Option<OpenSession>, sqlx::Error> {
    LIST.find(scope, id.0).await
}

/// Lists the open sessions of the scope's tenant.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.sessions.list", level = "debug", skip_all, err(level = "debug"))]
pub async fn list(
    scope: &mut TenantScope,
    filter: Filter,
    sort: SortField,
    direction: Direction,
    page: Page,
) -> Result<Listed<OpenSession>, sqlx::Error> {
    LIST.read(scope, filter, sort, direction, page).await
}
