//! Which checkpoints of the installation's log are shown: all that are signed, or those that enough witnesses have
//! cosigned.

use chrono::{DateTime, Utc};
use evidence::proof::LogProof;
use projections::BigInt;
use sqlx::PgConnection;
use uuid::Uuid;

use super::checkpoints::StoredCheckpoint;
use super::reading::{ReadFailure, prove_in};
use super::trees::{self, Tree};

/// Records whether checkpoints of a log are shown only when they are cosigned. The one that was shown last is shown until
/// then, so nothing that was shown disappears.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.evidence_trees.restrict", level = "trace", skip_all, err(level = "debug"))]
pub(crate) async fn restrict_publication(
    connection: &mut PgConnection,
    log_id: Uuid,
    to_cosigned: bool,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE evidence_trees
         SET published_size = CASE WHEN $2 THEN coalesce(published_size, sealed_size) END
         WHERE log_id = $1
           AND (published_size IS NOT NULL) <> $2",
        log_id,
        to_cosigned,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Shows a checkpoint of a log that enough witnesses have cosigned, unless a later one is shown.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.evidence_trees.publish", level = "trace", skip_all, err(level = "debug"))]
pub(crate) async fn publish(
    connection: &mut PgConnection,
    log_id: Uuid,
    size: u64,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE evidence_trees SET published_size = $2 WHERE log_id = $1 AND published_size < $2",
        log_id,
        BigInt(size) as BigInt,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// How far witnesses have cosigned the installation's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cosigned {
    /// When the last checkpoint was signed that enough witnesses have cosigned; `None`: there is none.
    pub(crate) signed_at: Option<DateTime<Utc>>,
    /// Number of entries after it that a signed checkpoint covers.
    pub(crate) entries_waiting: u64,
}

/// Returns how far witnesses have cosigned the installation's log; `None` if none are required.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.evidence_trees.cosigned", level = "trace", skip_all, err(level = "debug"))]
pub(crate) async fn cosigned(connection: &mut PgConnection) -> Result<Option<Cosigned>, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        SELECT checkpoint.signed_at AS "signed_at?", tree.sealed_size - tree.published_size AS "waiting!: BigInt"
        FROM evidence_trees AS tree
        LEFT JOIN evidence_checkpoints AS checkpoint
            ON checkpoint.log_id = tree.log_id AND checkpoint.size = tree.published_size
        WHERE tree.log_id = (SELECT log_id FROM evidence_trees WHERE tenant_id IS NULL ORDER BY era DESC LIMIT 1)
          AND tree.published_size IS NOT NULL
        "#
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Cosigned { signed_at: row.signed_at, entries_waiting: row.waiting.0 }))
}

/// Returns the checkpoint of a log of the installation that is shown, with all its cosignatures. Without `log_id`, the log
/// is that of the latest era.
///
/// A tree that is read afterwards has all entries of the checkpoint.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(
    name = "db.evidence_checkpoints.published",
    level = "debug",
    skip_all,
    err(level = "debug")
)]
pub(crate) async fn published_checkpoint(
    connection: &mut PgConnection,
    log_id: Option<Uuid>,
) -> Result<Option<StoredCheckpoint>, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        SELECT
            checkpoint.size AS "size: BigInt",
            checkpoint.note || coalesce(
                (
                    SELECT string_agg(cosignature || E'\n', '' ORDER BY vkey)
                    FROM checkpoint_cosignatures AS cosigned
                    WHERE cosigned.log_id = checkpoint.log_id AND cosigned.size = checkpoint.size
                ),
                ''
            ) AS "note!"
        FROM evidence_trees AS tree
        JOIN evidence_checkpoints AS checkpoint
            ON checkpoint.log_id = tree.log_id AND checkpoint.size = coalesce(tree.published_size, tree.sealed_size)
        WHERE tree.log_id = coalesce(
            $1,
            (SELECT log_id FROM evidence_trees WHERE tenant_id IS NULL ORDER BY era DESC LIMIT 1)
        )
        "#,
        log_id,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| StoredCheckpoint { size: row.size.0, note: row.note, installation: None }))
}

/// Returns the proof that an entry is in a log of the installation, up to the checkpoint that is shown; `None` if that does
/// not cover it.
///
/// # Errors
/// See [`ReadFailure`].
pub(crate) async fn prove_published(
    connection: &mut PgConnection,
    log_id: Uuid,
    index: u64,
) -> Result<Option<LogProof>, ReadFailure> {
    let Some(checkpoint) = published_checkpoint(connection, Some(log_id)).await? else { return Ok(None) };
    let tree = trees::tree(connection, log_id).await?.ok_or(ReadFailure::MissingLog(log_id))?;
    prove_in(connection, &tree, &checkpoint, index).await
}

/// How many entries of logs of the installation are covered by a checkpoint that is shown, where witnesses are required.
#[derive(Clone, Debug)]
pub(crate) struct PublishedSizes {
    log_ids: Vec<Uuid>,
    sizes: Vec<BigInt>,
}

/// Returns the published sizes. The logs belong to no tenant, so this is not read in the scope of one.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.evidence_trees.published", level = "debug", skip_all, err(level = "debug"))]
pub(crate) async fn published_sizes(connection: &mut PgConnection) -> Result<PublishedSizes, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        SELECT log_id, published_size AS "published_size!: BigInt"
        FROM evidence_trees
        WHERE tenant_id IS NULL AND published_size IS NOT NULL
        "#
    )
    .fetch_all(connection)
    .await?;
    let (log_ids, sizes) = rows.into_iter().map(|row| (row.log_id, row.published_size)).unzip();
    Ok(PublishedSizes { log_ids, sizes })
}

/// Returns the last checkpoint of a tenant's log that [`prove_published`] can prove; `None` if there is none.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(
    name = "db.evidence_checkpoints.provable",
    level = "debug",
    skip_all,
    err(level = "debug")
)]
pub(crate) async fn last_provable_checkpoint(
    connection: &mut PgConnection,
    tree: &Tree,
    published: &PublishedSizes,
) -> Result<Option<StoredCheckpoint>, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        SELECT
            size AS "size: BigInt", note,
            installation_index AS "installation_index!: BigInt", installation_log_id AS "installation_log_id!"
        FROM evidence_checkpoints
        WHERE log_id = $1
          AND size <= $2
          AND installation_log_id IS NOT NULL
          AND NOT EXISTS (
              SELECT
              FROM unnest($3::uuid[], $4::bigint[]) AS published (log_id, size)
              WHERE published.log_id = installation_log_id AND published.size <= installation_index
          )
        ORDER BY size DESC
        LIMIT 1
        "#,
        tree.log_id(),
        BigInt(tree.size()) as BigInt,
        &published.log_ids,
        &published.sizes as &[BigInt],
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| StoredCheckpoint {
        size: row.size.0,
        note: row.note,
        installation: Some((row.installation_log_id, row.installation_index.0)),
    }))
}
