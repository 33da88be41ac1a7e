//! The table `rebuilds`: which generations are half built, and how far. It is named with its schema, because
//! whoever folds a generation sees that generation's tables under unqualified names.

use projections::{LogPosition, Projection, TransactionId};
use sqlx::PgConnection;

use super::tables::names;

/// A generation that is half built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Recorded {
    /// The name of its projection, which this program need not know.
    pub(super) projection: String,
    pub(super) tables: Vec<String>,
    /// What its rows are good for.
    pub(super) made_by: String,
    /// Everything up to here is in its rows.
    pub(super) position: LogPosition,
}

/// All of them.
#[tracing::instrument(name = "db.rebuilds.list", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn list(connection: &mut PgConnection) -> Result<Vec<Recorded>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        SELECT projection, tables, made_by, transaction_id AS "transaction_id: TransactionId", position
        FROM public.rebuilds
        ORDER BY projection
        "#
    )
    .fetch_all(connection)
    .await?;
    let recorded = rows.into_iter().map(|row| Recorded {
        projection: row.projection,
        tables: row.tables,
        made_by: row.made_by,
        position: LogPosition { transaction_id: row.transaction_id, position: row.position },
    });
    Ok(recorded.collect())
}

/// A generation of `projection` begins.
#[tracing::instrument(name = "db.rebuilds.begin", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn begin(
    connection: &mut PgConnection,
    projection: Projection,
    made_by: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO public.rebuilds (projection, tables, made_by) VALUES ($1, $2, $3)",
        projection.name(),
        &names(projection),
        made_by,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The generations of `projections` have come to a place.
#[tracing::instrument(name = "db.rebuilds.advance", level = "trace", skip_all, err(level = "debug"))]
pub(super) async fn advance(
    connection: &mut PgConnection,
    projections: &[Projection],
    to: LogPosition,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE public.rebuilds SET transaction_id = $2, position = $3 WHERE projection = ANY($1)",
        &projections.iter().map(|projection| projection.name().to_owned()).collect::<Vec<_>>(),
        to.transaction_id as TransactionId,
        to.position,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// There is no half-built generation of this name any more.
#[tracing::instrument(name = "db.rebuilds.forget", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn forget(connection: &mut PgConnection, projection: &str) -> Result<(), sqlx::Error> {
    sqlx::query!("DELETE FROM public.rebuilds WHERE projection = $1", projection).execute(connection).await?;
    Ok(())
}
