//! Transactions that append no facts, and therefore need not hold back the readers of the log.
//!
//! Readers stop below the oldest running transaction, because it may still append. Transactions that write
//! read models or the dispatcher's tables never append, and take longer than an append; a webhook accepted
//! meanwhile would wait for their end. So they take an advisory lock on their transaction id, and readers
//! skip running transactions that hold one.

use sqlx::PgConnection;

/// Text from which the first key of the locks is hashed; the second key is the transaction id.
pub const NON_APPENDING: &str = "hooksentry.non_appending";

/// Marks the transaction on `connection`, which has just begun, as one that appends no facts. Readers may
/// never see a fact that it appends nevertheless.
///
/// # Errors
/// When the lock cannot be taken.
#[tracing::instrument(name = "db.mark_non_appending", level = "trace", skip_all, err(level = "debug"))]
pub async fn mark_non_appending(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    // The key holds 31 of the id's 64 bits. Ids of transactions that run at the same time differ in those.
    sqlx::query!(
        r#"
        SELECT pg_advisory_xact_lock(
            hashtext($1), (pg_current_xact_id()::text::bigint & 2147483647)::int
        )::text AS locked
        "#,
        NON_APPENDING,
    )
    .fetch_one(connection)
    .await?;
    Ok(())
}
