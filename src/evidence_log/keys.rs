//! History of the public keys that sign checkpoints.

use chrono::{DateTime, Utc};
use evidence::note::KeyName;
use sqlx::PgConnection;
use thiserror::Error;

use crate::secrets::log_keys::LogKeys;

/// Reason why keys are not recorded.
#[derive(Debug, Error)]
pub(crate) enum KeyNameChanged {
    #[error(
        "the signing keys have the name {given}, but the logs of this installation have the name {known}: the name of a \
         log never changes"
    )]
    Name { given: KeyName, known: String },
    #[error("database error")]
    Database(#[from] sqlx::Error),
}

/// Records which keys sign from now on.
///
/// # Errors
/// The keys have another name than earlier ones, or the database fails.
#[tracing::instrument(name = "db.evidence_log_keys.record", level = "debug", skip_all, err(level = "debug"))]
pub(crate) async fn record_keys(connection: &mut PgConnection, keys: &LogKeys) -> Result<(), KeyNameChanged> {
    let known = sqlx::query_scalar!(
        r#"
        SELECT split_part(vkey, '+', 1) AS "name!"
        FROM evidence_log_keys
        WHERE split_part(vkey, '+', 1) <> $1
        LIMIT 1
        "#,
        keys.name().as_str(),
    )
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(known) = known {
        return Err(KeyNameChanged::Name { given: keys.name().clone(), known });
    }
    let vkeys: Vec<String> = keys.verifiers().map(ToString::to_string).collect();
    sqlx::query!(
        "WITH retired AS (
            UPDATE evidence_log_keys SET retired_at = clock_timestamp() WHERE retired_at IS NULL AND vkey <> ALL($1)
        )
        INSERT INTO evidence_log_keys (vkey)
        SELECT unnest($1::text[])
        ON CONFLICT (vkey) DO UPDATE SET retired_at = NULL",
        &vkeys,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A public key that signs or has signed.
#[derive(Clone, Debug)]
pub(crate) struct RecordedKey {
    pub(crate) vkey: String,
    pub(crate) since: DateTime<Utc>,
    /// `None`: it still signs.
    pub(crate) retired_at: Option<DateTime<Utc>>,
}

/// Returns all keys that ever signed, oldest first.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.evidence_log_keys.list", level = "debug", skip_all, err(level = "debug"))]
pub(crate) async fn recorded_keys(connection: &mut PgConnection) -> Result<Vec<RecordedKey>, sqlx::Error> {
    sqlx::query_as!(RecordedKey, "SELECT vkey, since, retired_at FROM evidence_log_keys ORDER BY since, vkey")
        .fetch_all(connection)
        .await
}
