//! Transactions that write and append nothing say so, and hold back no reader of the log.
//!
//! Readers stay below the oldest transaction that runs, because it may append yet. Ours that write read models
//! or the dispatcher's tables never do, and take longer than an append; while they held readers back, a
//! webhook that was accepted meanwhile waited for their end. So they hold an advisory lock on their own
//! number, and readers look beyond whoever does ([`super::log_reader::read_after`]).

use sqlx::PgConnection;

/// What the locks' first key is hashed from; the second is the transaction's number.
pub const NON_APPENDING: &str = "hooksentry.bystander";

/// Says that the transaction on `connection`, which has just begun, will append nothing to the log. A fact
/// that it appends all the same may be passed over by readers.
#[tracing::instrument(name = "db.bystander", level = "trace", skip_all, err(level = "debug"))]
pub async fn mark_non_appending(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    // The number has 64 bits and the key has 31 of them. Of numbers that are in use at one time no two
    // agree in those.
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
