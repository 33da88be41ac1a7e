//! Sessions: logins, open and closed.

use aggregates::email::Email;
use aggregates::ids::{SessionId, TenantId, UserId};
use aggregates::role::{Role, UserStatus};
use aggregates::session::SessionFact;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::columns::Stored;
use crate::fold::StreamRow;
use crate::logged_fact::LoggedFact;
use crate::read_model::read_model;

/// The active user of an open session, as the user is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionUser {
    pub user_id: UserId,
    pub tenant_id: TenantId,
    pub email: Email,
    pub role: Role,
    /// `false`: the user's row lacks a change that takes a right away, and must not be used to admit the user.
    pub is_current: bool,
}

read_model! {
    Sessions: table "sessions", facts SessionFact;
    struct Row {
        id: Uuid,
        tenant_id: TenantId,
        user_id: UserId,
        credentials_version: i64,
        expires_at: DateTime<Utc>,
        opened_at: DateTime<Utc>,
        closed_at: Option<DateTime<Utc>>,
        version: i64,
    }
}

impl StreamRow for Row {
    type Fact = SessionFact;

    fn begin(logged: &LoggedFact, fact: &SessionFact) -> Option<Self> {
        let SessionFact::LoggedIn { tenant_id, user_id, credentials_version, tokens, at } = fact else {
            return None;
        };
        Some(Self {
            id: logged.stream_id,
            tenant_id: *tenant_id,
            user_id: *user_id,
            credentials_version: i64::try_from(*credentials_version).unwrap_or(0),
            expires_at: tokens.refresh_expires_at,
            opened_at: *at,
            closed_at: None,
            version: 1,
        })
    }

    fn follow(&mut self, fact: &SessionFact) {
        match fact {
            SessionFact::LoggedIn { .. } => {}
            SessionFact::SessionRefreshed { tokens, .. } => self.expires_at = tokens.refresh_expires_at,
            SessionFact::LoggedOut { at, .. } => self.closed_at = Some(*at),
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
            users.id AS user_id, users.tenant_id, users.email AS "email!: Stored<Email>",
            users.role AS "role: Stored<Role>",
            users.version >= coalesce((SELECT version FROM revocations WHERE stream_id = users.id), 0)
                AS "is_current!"
        FROM sessions
        JOIN users ON users.id = sessions.user_id
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
