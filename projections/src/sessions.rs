//! Sessions: which logins are open, and who is behind an access token at this moment.

use aggregates::email::Email;
use aggregates::fact::Fact;
use aggregates::ids::{SessionId, TenantId, UserId};
use aggregates::role::Role;
use aggregates::sealed::TokenHash;
use aggregates::session::SessionFact;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::columns::{known, role};
use crate::fold::{self, ApplyFailure, StreamRow};
use crate::logged_fact::LoggedFact;
use crate::projection::ReadModel;

/// Whoever is behind an open session, as they are now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub user_id: UserId,
    pub tenant_id: TenantId,
    /// The email, for the record.
    pub email: Email,
    /// What they may do.
    pub role: Role,
}

/// An open session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenSession {
    pub id: SessionId,
    pub user_id: UserId,
    pub tenant_id: TenantId,
    /// When its refresh token expires.
    pub expires_at: DateTime<Utc>,
}

struct Row {
    id: Uuid,
    tenant_id: Uuid,
    user_id: Uuid,
    refresh_token_hash: String,
    expires_at: DateTime<Utc>,
    opened_at: DateTime<Utc>,
    closed_at: Option<DateTime<Utc>>,
    version: i64,
}

impl StreamRow for Row {
    type Fact = SessionFact;

    fn pick(fact: &Fact) -> Option<&SessionFact> {
        if let Fact::Session(fact) = fact { Some(fact) } else { None }
    }

    fn begin(logged: &LoggedFact, fact: &SessionFact) -> Option<Self> {
        let SessionFact::LoggedIn { tenant_id, user_id, tokens, at } = fact else {
            return None;
        };
        Some(Self {
            id: logged.stream_id,
            tenant_id: tenant_id.0,
            user_id: user_id.0,
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

    fn stream_id(&self) -> Uuid {
        self.id
    }

    fn version(&mut self) -> &mut i64 {
        &mut self.version
    }
}

/// The read model of this file.
#[derive(Debug)]
pub(crate) struct Sessions;

impl ReadModel for Sessions {
    const NAME: &'static str = "sessions";
    const AGGREGATES: &'static [&'static str] = &["Session"];

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

#[tracing::instrument(name = "db.sessions.load", level = "trace", skip_all, err(level = "debug"))]
async fn load(connection: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"
        SELECT id, tenant_id, user_id, refresh_token_hash, expires_at, opened_at, closed_at, version
        FROM sessions
        WHERE id = ANY($1)
        "#,
        ids,
    )
    .fetch_all(connection)
    .await
}

#[tracing::instrument(name = "db.sessions.store", level = "trace", skip_all, err(level = "debug"))]
async fn store(connection: &mut PgConnection, rows: &[Row]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        INSERT INTO sessions
            (id, tenant_id, user_id, refresh_token_hash, expires_at, opened_at, closed_at, version)
        SELECT *
        FROM unnest(
            $1::uuid[], $2::uuid[], $3::uuid[], $4::text[],
            $5::timestamptz[], $6::timestamptz[], $7::timestamptz[], $8::bigint[]
        )
        ON CONFLICT (id) DO UPDATE SET
            refresh_token_hash = excluded.refresh_token_hash,
            expires_at = excluded.expires_at,
            closed_at = excluded.closed_at,
            version = excluded.version
        WHERE sessions.version < excluded.version
        "#,
        &rows.iter().map(|row| row.id).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.tenant_id).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.user_id).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.refresh_token_hash.clone()).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.expires_at).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.opened_at).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.closed_at).collect::<Vec<_>>() as &[Option<DateTime<Utc>>],
        &rows.iter().map(|row| row.version).collect::<Vec<_>>(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Who is behind a session at this moment: nobody once it is closed, or its user is inactive or gone.
/// Asked for every authenticated request, so that a logout, a deactivation or a new role holds from the
/// next request on.
#[tracing::instrument(name = "db.sessions.caller", level = "debug", skip_all, err(level = "debug"))]
pub async fn caller(connection: &mut PgConnection, id: SessionId) -> Result<Option<Caller>, sqlx::Error> {
    let found = sqlx::query!(
        r#"
        SELECT users.id, users.tenant_id, users.email AS "email!", users.role
        FROM sessions
        JOIN users ON users.id = sessions.user_id
        WHERE sessions.id = $1
          AND sessions.closed_at IS NULL
          AND users.deleted_at IS NULL
          AND users.status = 0
        "#,
        id.0,
    )
    .fetch_optional(connection)
    .await?;
    found
        .map(|row| {
            Ok(Caller {
                user_id: row.id.into(),
                tenant_id: row.tenant_id.into(),
                email: known("email", Email::parse(&row.email).ok())?,
                role: role("role", row.role)?,
            })
        })
        .transpose()
}

/// The open session whose newest refresh token has this hash. A token that was used before is in no
/// row: a caller that is to notice its reuse finds the session by an id carried in the token.
#[tracing::instrument(name = "db.sessions.by_refresh_token", level = "debug", skip_all, err(level = "debug"))]
pub async fn by_refresh_token(
    connection: &mut PgConnection,
    hash: &TokenHash,
) -> Result<Option<OpenSession>, sqlx::Error> {
    sqlx::query_as!(
        OpenSession,
        r#"
        SELECT id, user_id, tenant_id, expires_at
        FROM sessions
        WHERE refresh_token_hash = $1 AND closed_at IS NULL
        "#,
        hash.0,
    )
    .fetch_optional(connection)
    .await
}

/// The open sessions of a user that could still be used: those to close when the user changes.
#[tracing::instrument(name = "db.sessions.open_of_user", level = "debug", skip_all, err(level = "debug"))]
pub async fn open_of_user(
    connection: &mut PgConnection,
    user_id: UserId,
) -> Result<Vec<SessionId>, sqlx::Error> {
    let ids = sqlx::query_scalar!(
        "SELECT id FROM sessions WHERE user_id = $1 AND closed_at IS NULL AND expires_at > now() ORDER BY id",
        user_id.0,
    )
    .fetch_all(connection)
    .await?;
    Ok(ids.into_iter().map(SessionId).collect())
}
