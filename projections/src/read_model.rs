//! Read models with one row for each stream. The columns are declared once: as the fields of the row.
//!
//! [`read_model!`] declares a read model and its row, and the row's file adds how facts change it
//! ([`StreamRow`]). A batch loads and stores whole rows with one statement each. Their SQL is built from the
//! declaration, so the compiler does not check it; tests compare the declared columns with the tables.

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{FromRow, PgConnection, Postgres};
use uuid::Uuid;

use crate::fold::{self, ApplyFailure, StreamRow};
use crate::logged_fact::LoggedFact;

/// A row that is stored as a whole.
pub(crate) trait TableRow: for<'r> FromRow<'r, PgRow> + Send + Sync + Unpin {
    const TABLE: &'static str;
    /// The columns, the key first, separated as in SQL.
    const COLUMNS: &'static str;
    /// When a stored row is replaced. The row to be written is called `excluded`.
    const REPLACED_IF: &'static str;

    /// Binds an array for each column, in the order of [`COLUMNS`](Self::COLUMNS).
    fn bind<'q>(query: Insert<'q>, rows: &[Self]) -> Insert<'q>;
}

pub(crate) type Insert<'q> = Query<'q, Postgres, PgArguments>;

/// Declares a struct that is selected from columns named as its fields, or from the expressions given, and
/// lists these in `COLUMNS`.
macro_rules! selected {
    (
        $(#[$attribute:meta])*
        $visibility:vis struct $row:ident {
            $(
                $(#[$note:meta])*
                $field_visibility:vis $column:ident: $type:ty $(= $expression:literal)?
            ),+ $(,)?
        }
    ) => {
        $(#[$attribute])*
        $visibility struct $row {
            $($(#[$note])* $field_visibility $column: $type),+
        }

        impl $row {
            /// The columns, separated as in SQL.
            pub(crate) const COLUMNS: &'static str =
                concat!($(", ", $($expression, " AS ",)? stringify!($column)),+).split_at(", ".len()).1;
        }

        impl ::sqlx::FromRow<'_, ::sqlx::postgres::PgRow> for $row {
            fn from_row(row: &::sqlx::postgres::PgRow) -> Result<Self, ::sqlx::Error> {
                Ok(Self { $($column: $crate::columns::read(row, stringify!($column))?),+ })
            }
        }
    };
}

/// Declares the row of a table: the columns, the key first, and when a stored row is replaced.
macro_rules! table_row {
    (
        table $table:literal, replaced if $replaced_if:expr;
        struct $row:ident { $($column:ident: $type:ty),+ $(,)? }
    ) => {
        $crate::read_model::selected! {
            #[derive(Clone)]
            pub(crate) struct $row { $($column: $type),+ }
        }

        impl $crate::read_model::TableRow for $row {
            const TABLE: &'static str = $table;
            const COLUMNS: &'static str = Self::COLUMNS;
            const REPLACED_IF: &'static str = $replaced_if;

            fn bind<'q>(
                query: $crate::read_model::Insert<'q>,
                rows: &[Self],
            ) -> $crate::read_model::Insert<'q> {
                query$(.bind(
                    rows.iter()
                        .map(|row| $crate::columns::ColumnValue::to_stored(&row.$column))
                        .collect::<Vec<_>>(),
                ))+
            }
        }
    };
}

/// Declares a read model with one row for each stream: its name, its table, the facts it folds, and its row,
/// which has the columns `id` (the stream) and `version` (the version that the row shows).
macro_rules! read_model {
    (
        $model:ident: table $table:literal, facts $fact:ty;
        struct $row:ident { $($column:ident: $type:ty),+ $(,)? }
    ) => {
        #[derive(Debug)]
        pub(crate) struct $model;

        impl $crate::projection::ReadModel for $model {
            const NAME: &'static str = $table;
            const AGGREGATES: &'static [&'static str] =
                &[<$fact as $crate::fold::AggregateFact>::AGGREGATE];

            async fn apply(
                connection: &mut ::sqlx::PgConnection,
                facts: &[$crate::logged_fact::LoggedFact],
            ) -> Result<(), $crate::fold::ApplyFailure> {
                $crate::read_model::apply::<$row>(connection, facts).await
            }
        }

        $crate::read_model::table_row! {
            table $table, replaced if concat!($table, ".version < excluded.version");
            struct $row { $($column: $type),+ }
        }

        impl $crate::fold::VersionedRow for $row {
            fn stream_id(&self) -> ::uuid::Uuid {
                self.id
            }

            fn version(&mut self) -> &mut i64 {
                &mut self.version
            }
        }
    };
}

pub(crate) use {read_model, selected, table_row};

/// Folds a batch into the rows of its streams.
pub(crate) async fn apply<R: StreamRow + TableRow>(
    connection: &mut PgConnection,
    facts: &[LoggedFact],
) -> Result<(), ApplyFailure> {
    let ids = fold::streams_of::<R>(facts);
    if ids.is_empty() {
        return Ok(());
    }
    let rows = fold::fold(load::<R>(connection, &ids).await?, facts)?;
    Ok(store(connection, &rows).await?)
}

#[tracing::instrument(
    name = "db.read_model.load",
    level = "trace",
    skip_all,
    fields(table = R::TABLE),
    err(level = "debug")
)]
async fn load<R: TableRow>(connection: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<R>, sqlx::Error> {
    sqlx::query_as(&select::<R>("id = ANY($1)")).bind(ids).fetch_all(connection).await
}

/// Returns the statement that reads the rows under a condition.
pub(crate) fn select<R: TableRow>(condition: &str) -> String {
    format!("SELECT {} FROM {} WHERE {condition}", R::COLUMNS, R::TABLE)
}

/// Writes rows, unless newer ones are stored.
#[tracing::instrument(
    name = "db.read_model.store",
    level = "trace",
    skip_all,
    fields(table = R::TABLE),
    err(level = "debug")
)]
pub(crate) async fn store<R: TableRow>(connection: &mut PgConnection, rows: &[R]) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    R::bind(sqlx::query(&upsert::<R>()), rows).execute(connection).await?;
    Ok(())
}

fn upsert<R: TableRow>() -> String {
    let columns: Vec<&str> = R::COLUMNS.split(", ").collect();
    let arrays: Vec<String> = (1..=columns.len()).map(|number| format!("${number}")).collect();
    let changes: Vec<String> =
        columns[1..].iter().map(|column| format!("{column} = excluded.{column}")).collect();
    format!(
        "INSERT INTO {table} ({all}) SELECT * FROM unnest({arrays}) \
         ON CONFLICT ({key}) DO UPDATE SET {changes} WHERE {replaced_if}",
        table = R::TABLE,
        all = R::COLUMNS,
        arrays = arrays.join(", "),
        key = columns[0],
        changes = changes.join(", "),
        replaced_if = R::REPLACED_IF,
    )
}
