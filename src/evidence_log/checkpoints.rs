//! Signed checkpoints of logs, written once.

use chrono::{DateTime, Utc};
use projections::BigInt;
use sqlx::PgConnection;
use uuid::Uuid;

/// A checkpoint to store.
#[derive(Clone, Debug)]
pub(crate) struct NewCheckpoint {
    pub(crate) log_id: Uuid,
    /// `None`: of the installation.
    pub(crate) tenant_id: Option<Uuid>,
    pub(crate) size: u64,
    /// The signed note.
    pub(crate) note: String,
    /// The installation's log and the index of the entry that commits to the note; `None`: of the installation.
    pub(crate) entry: Option<(Uuid, u64)>,
}

/// Inserts checkpoints, and records in the trees that they are signed up to these sizes.
///
/// # Errors
/// When the database fails, or has one of the checkpoints.
#[tracing::instrument(
    name = "db.evidence_checkpoints.insert",
    level = "trace",
    skip_all,
    err(level = "debug")
)]
pub(crate) async fn insert_checkpoints(
    connection: &mut PgConnection,
    checkpoints: &[NewCheckpoint],
) -> Result<(), sqlx::Error> {
    let log_ids: Vec<Uuid> = checkpoints.iter().map(|new| new.log_id).collect();
    let sizes: Vec<BigInt> = checkpoints.iter().map(|new| BigInt(new.size)).collect();
    sqlx::query!(
        r#"
        INSERT INTO evidence_checkpoints (log_id, tenant_id, size, note, installation_log_id, installation_index)
        SELECT *
        FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::uuid[], $6::bigint[])
        "#,
        &log_ids,
        &checkpoints.iter().map(|new| new.tenant_id).collect::<Vec<_>>() as &[Option<Uuid>],
        &sizes as &[BigInt],
        &checkpoints.iter().map(|new| new.note.clone()).collect::<Vec<_>>(),
        &checkpoints.iter().map(|new| new.entry.map(|(log_id, _)| log_id)).collect::<Vec<_>>() as &[Option<Uuid>],
        &checkpoints.iter().map(|new| new.entry.map(|(_, index)| BigInt(index))).collect::<Vec<_>>()
            as &[Option<BigInt>],
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        r#"
        UPDATE evidence_trees
        SET sealed_size = signed.size
        FROM unnest($1::uuid[], $2::bigint[]) AS signed (log_id, size)
        WHERE evidence_trees.log_id = signed.log_id
        "#,
        &log_ids,
        &sizes as &[BigInt],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Returns when the installation's log was last signed; `None`: never.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.evidence_checkpoints.last", level = "trace", skip_all, err(level = "debug"))]
pub(crate) async fn last_signed_at(
    connection: &mut PgConnection,
) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT last.signed_at
         FROM evidence_trees AS tree
         CROSS JOIN LATERAL (
             SELECT signed_at
             FROM evidence_checkpoints AS checkpoint
             WHERE checkpoint.log_id = tree.log_id
             ORDER BY size DESC
             LIMIT 1
         ) AS last
         WHERE tree.tenant_id IS NULL
         ORDER BY tree.era DESC
         LIMIT 1"
    )
    .fetch_optional(connection)
    .await
}

/// A checkpoint as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct StoredCheckpoint {
    pub(crate) size: u64,
    pub(crate) note: String,
    /// The installation's log and the index of the entry that commits to the note; `None`: of the installation.
    pub(crate) installation: Option<(Uuid, u64)>,
}

/// Returns the last checkpoint of a log that has at most `size_max` entries: a tree that was read before has all of them.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.evidence_checkpoints.get", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn last(
    connection: &mut PgConnection,
    log_id: Uuid,
    size_max: u64,
) -> Result<Option<StoredCheckpoint>, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        SELECT
            size AS "size: BigInt", note, installation_index AS "installation_index: BigInt", installation_log_id
        FROM evidence_checkpoints
        WHERE log_id = $1 AND size <= $2
        ORDER BY size DESC
        LIMIT 1
        "#,
        log_id,
        BigInt(size_max) as BigInt,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| StoredCheckpoint {
        size: row.size.0,
        note: row.note,
        installation: row.installation_log_id.zip(row.installation_index.map(|index| index.0)),
    }))
}

/// Returns the first checkpoint of a tenant's log that has at least `size_min` entries; `None` if there is none.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(
    name = "db.evidence_checkpoints.first",
    level = "debug",
    skip_all,
    err(level = "debug")
)]
pub(crate) async fn first_checkpoint(
    connection: &mut PgConnection,
    log_id: Uuid,
    size_min: u64,
) -> Result<Option<StoredCheckpoint>, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        SELECT
            size AS "size: BigInt", note, installation_index AS "installation_index: BigInt", installation_log_id
        FROM evidence_checkpoints
        WHERE log_id = $1 AND size >= $2
        ORDER BY size
        LIMIT 1
        "#,
        log_id,
        BigInt(size_min) as BigInt,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| StoredCheckpoint {
        size: row.size.0,
        note: row.note,
        installation: row.installation_log_id.zip(row.installation_index.map(|index| index.0)),
    }))
}
