//! The query builder of lists that are one table.

use sqlx::postgres::PgRow;
use sqlx::{FromRow, Postgres, QueryBuilder};

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
    /// Condition of the rows that the list has, whatever the filter; `true` for all.
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
        T: TryFrom<R>,
        sqlx::Error: From<T::Error>,
    {
        let mut count = self.select("count(*)", scope, filter);
        let total = count.build_query_scalar().fetch_one(scope.connection()).await?;
        let mut rows = self.select(self.columns, scope, filter);
        let direction = direction.keyword();
        rows.push(format_args!(" ORDER BY {} {direction}, id {direction} LIMIT ", sort.column()));
        rows.push_bind(page.limit).push(" OFFSET ").push_bind(page.offset);
        let rows: Vec<R> = rows.build_query_as().fetch_all(scope.connection()).await?;
        Listed::read(total, rows)
    }

    fn select(
        self,
        columns: &str,
        scope: &TenantScope,
        filter: impl Filter,
    ) -> QueryBuilder<'static, Postgres> {
        let Self { table, condition, .. } = self;
        let mut query = QueryBuilder::new(format!("SELECT {columns} FROM {table} WHERE tenant_id = "));
        query.push_bind(scope.tenant_id().0).push(" AND ").push(condition);
        push_conditions(&mut query, filter);
        query
    }
}
