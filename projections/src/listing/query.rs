//! The query builder of lists that are one table.

use sqlx::postgres::PgRow;
use sqlx::{FromRow, Postgres, QueryBuilder};
use uuid::Uuid;

use super::filter::{Filter, push_conditions};
use super::sort::SortColumns;
use crate::paging::{Direction, Listed, Page};
use crate::tenant_scope::TenantScope;

/// A list of a tenant's rows in one table, which has the columns `tenant_id` and `id`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List {
    pub(crate) table: &'static str,
    /// Columns or expressions of a row, as `SELECT` takes them.
    pub(crate) columns: &'static str,
    /// Condition of the rows that the list has with any filter; `true` for all.
    pub(crate) condition: &'static str,
}

impl List {
    /// Reads a page of the rows that match `filter`, and how many there are. Ids break ties, in the same
    /// direction.
    ///
    /// # Errors
    /// When the database fails, or a row cannot be converted.
    pub(crate) async fn read<R, T>(
        self,
        scope: &mut TenantScope,
        filter: impl Filter,
        sort: impl SortColumns,
        direction: Direction,
        page: Page,
    ) -> Result<Listed<T>, sqlx::Error>
    where
        R: for<'r> FromRow<'r, PgRow> + Send + Unpin,
        T: From<R>,
    {
        let mut count = self.select("count(*)", scope, filter);
        let total = count.build_query_scalar().fetch_one(scope.connection()).await?;
        let mut rows = self.select(self.columns, scope, filter);
        let direction = direction.keyword();
        rows.push(format_args!(" ORDER BY {} {direction}, id {direction} LIMIT ", sort.column()));
        rows.push_bind(page.limit).push(" OFFSET ").push_bind(page.offset);
        let rows: Vec<R> = rows.build_query_as().fetch_all(scope.connection()).await?;
        Ok(Listed { total, items: rows.into_iter().map(T::from).collect() })
    }

    /// Reads the row of an id, if the list has it.
    ///
    /// # Errors
    /// When the database fails, or the row cannot be converted.
    pub(crate) async fn find<R>(self, scope: &mut TenantScope, id: Uuid) -> Result<Option<R>, sqlx::Error>
    where
        R: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let mut query = self.start(self.columns, scope);
        query.push(" AND id = ").push_bind(id);
        query.build_query_as().fetch_optional(scope.connection()).await
    }

    fn select(
        self,
        columns: &str,
        scope: &TenantScope,
        filter: impl Filter,
    ) -> QueryBuilder<'static, Postgres> {
        let mut query = self.start(columns, scope);
        push_conditions(&mut query, filter);
        query
    }

    /// Starts a statement that reads the rows of the list.
    fn start(self, columns: &str, scope: &TenantScope) -> QueryBuilder<'static, Postgres> {
        let Self { table, condition, .. } = self;
        let mut query = QueryBuilder::new(format!("SELECT {columns} FROM {table} WHERE tenant_id = "));
        query.push_bind(scope.tenant_id().0).push(" AND ").push(condition);
        query
    }
}
