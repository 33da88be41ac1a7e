//! The table `rebuilds`: the unfinished rebuilds and their progress. Its name is always qualified, because the search
//! path of the sessions that fold is the shadow schema.

use projections::{LogPosition, Projection, TransactionId};
use sqlx::PgConnection;

use super::ddl::names;

/// An unfinished rebuild.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unfinished {
    /// The name of its projection, which may be unknown to this program.
    pub(super) projection: String,
    pub(super) tables: Vec<String>,
    /// The program and the table definition that its rows depend on.
    pub(super) made_by: String,
    /// The last fact that is in its rows.
    pub(super) position: LogPosition,
}

/// Returns all unfinished rebuilds.
#[tracing::instrument(name = "db.rebuilds.list", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn list(connection: &mut PgConnection) -> Result<Vec<Unfinished>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        SELECT projection, tables, made_by, transaction_id AS "transaction_id: TransactionId", position
        FROM public.rebuilds
        ORDER BY projection
        "#
    )
    .fetch_all(connection)
    .await?;
    let recorded = rows.into_iter().map(|row| Unfinished {
        projection: row.projection,
        tables: row.tables,
        made_by: row.made_by,
        position: LogPosition { transaction_id: row.transaction_id, position: row.position },
    });
    Ok(recorded.collect())
}

/// Records that a rebuild of `projection` begins.
#[tracing::instrument(name = "db.rebuilds.insert", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn insert(
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

/// Records the position of the rebuilds of `projections`.
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

/// Removes the record of a rebuild that was swapped or dropped.
#[tracing::instrument(name = "db.rebuilds.remove", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn remove(connection: &mut PgConnection, projection: &str) -> Result<(), sqlx::Error> {
    sqlx::query!("DELETE FROM public.rebuilds WHERE projection = $1", projection).execute(connection).await?;
    Ok(())
}
