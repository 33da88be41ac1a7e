//! Progress of the erasures of many payloads.
//!
//! This is not a read model: requests and results are facts, and the progress between them moves in the transaction that
//! erases.

use aggregates::ids::{ErasureId, TenantId};
use sqlx::PgConnection;

use crate::big_int::BigInt;
use crate::retention::AcceptancePosition;
use crate::tenant_scope::TenantScope;

/// An erasure that is not completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErasureInProgress {
    pub id: ErasureId,
    pub tenant_id: TenantId,
    pub progress: Progress,
}

/// Progress of an erasure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Last event that was examined.
    pub after: Option<AcceptancePosition>,
    pub erased: u64,
    /// Payloads that a legal hold on their destination has kept.
    pub kept: u64,
    pub is_completed: bool,
}

/// Adds an erasure, in the transaction that appends its request.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.erasures.add", level = "debug", skip_all, err(level = "debug"))]
pub async fn add(
    connection: &mut PgConnection,
    id: ErasureId,
    tenant_id: TenantId,
) -> Result<(), sqlx::Error> {
    sqlx::query!("INSERT INTO erasures (id, tenant_id) VALUES ($1, $2)", id.0, tenant_id.0)
        .execute(connection)
        .await?;
    Ok(())
}

/// Returns whether an erasure is in progress.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(
    name = "db.erasures.is_any_in_progress",
    level = "trace",
    skip_all,
    err(level = "debug")
)]
pub async fn is_any_in_progress(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM erasures WHERE NOT is_completed) AS "is_any!""#)
        .fetch_one(connection)
        .await
}

/// Returns the erasure whose turn it is, if one is in progress, and passes the turn to the next.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.erasures.take_turn", level = "trace", skip_all, err(level = "debug"))]
pub async fn take_turn(connection: &mut PgConnection) -> Result<Option<ErasureInProgress>, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        UPDATE erasures
        SET stepped_at = clock_timestamp()
        WHERE id = (
            SELECT id
            FROM erasures
            WHERE NOT is_completed
            ORDER BY stepped_at NULLS FIRST, id
            LIMIT 1
        )
        RETURNING
            id, tenant_id, after_accepted_at, after_id, erased AS "erased: BigInt", kept AS "kept: BigInt"
        "#
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| ErasureInProgress {
        id: row.id.into(),
        tenant_id: row.tenant_id.into(),
        progress: Progress {
            after: position(row.after_accepted_at.zip(row.after_id)),
            erased: row.erased.0,
            kept: row.kept.0,
            is_completed: false,
        },
    }))
}

/// Stores the progress of an erasure.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.erasures.advance", level = "trace", skip_all, err(level = "debug"))]
pub async fn advance(connection: &mut PgConnection, id: ErasureId, to: Progress) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        UPDATE erasures
        SET after_accepted_at = $2, after_id = $3, erased = $4, kept = $5, is_completed = $6
        WHERE id = $1
        ",
        id.0,
        to.after.map(|after| after.accepted_at),
        to.after.map(|after| after.id.0),
        BigInt(to.erased) as BigInt,
        BigInt(to.kept) as BigInt,
        to.is_completed,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Returns the progress of an erasure of the scope's tenant.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.erasures.progress", level = "debug", skip_all, err(level = "debug"))]
pub async fn progress(scope: &mut TenantScope, id: ErasureId) -> Result<Option<Progress>, sqlx::Error> {
    let tenant_id = scope.tenant_id().0;
    let row = sqlx::query!(
        r#"
        SELECT after_accepted_at, after_id, erased AS "erased: BigInt", kept AS "kept: BigInt", is_completed
        FROM erasures
        WHERE tenant_id = $1 AND id = $2
        "#,
        tenant_id,
        id.0,
    )
    .fetch_optional(scope.connection())
    .await?;
    Ok(row.map(|row| Progress {
        after: position(row.after_accepted_at.zip(row.after_id)),
        erased: row.erased.0,
        kept: row.kept.0,
        is_completed: row.is_completed,
    }))
}

/// Returns how many erasures of the scope's tenant are not completed.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.erasures.in_progress", level = "debug", skip_all, err(level = "debug"))]
pub async fn in_progress(scope: &mut TenantScope) -> Result<i64, sqlx::Error> {
    let tenant_id = scope.tenant_id().0;
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM erasures WHERE tenant_id = $1 AND NOT is_completed"#,
        tenant_id,
    )
    .fetch_one(scope.connection())
    .await
}

fn position(stored: Option<(chrono::DateTime<chrono::Utc>, uuid::Uuid)>) -> Option<AcceptancePosition> {
    stored.map(|(accepted_at, id)| AcceptancePosition { accepted_at, id: id.into() })
}
