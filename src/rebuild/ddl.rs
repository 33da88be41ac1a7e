//! Statements that create, complete and drop shadow tables.
//!
//! The definition of a table (columns, constraints, indexes, options, owner, grants, row-level security) is in
//! PostgreSQL's catalog only, because migrations and operators may have changed it. So the server writes the
//! statements that create another table like it, from the catalog and with its own quoting; this module runs them.
//! Constraints and indexes keep their names, because later migrations use them.

use projections::Projection;
use sqlx::{Executor, PgConnection};

/// What shadow tables are used for, which decides how complete they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ShadowKind {
    /// To replace the live tables.
    Replacement,
    /// To be compared with the live tables and dropped: unlogged, and without indexes that only readers need.
    Comparison,
}

/// Returns the statements that create an empty table like `table` in `schema`, with the constraints and indexes that
/// folding needs.
#[tracing::instrument(name = "db.catalog.structure", level = "debug", skip_all, err(level = "debug"))]
async fn structure(
    connection: &mut PgConnection,
    schema: &str,
    table: &str,
    kind: ShadowKind,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        WITH live AS (
            SELECT *
            FROM pg_class
            WHERE oid = ('public.' || quote_ident($2))::regclass
        ),
        statement AS (
            SELECT
                1 AS step,
                '' AS name,
                format(
                    'CREATE %s TABLE %s.%I (LIKE public.%I INCLUDING ALL EXCLUDING INDEXES) %s',
                    CASE WHEN $3 THEN '' ELSE 'UNLOGGED' END,
                    quote_ident($1),
                    relname,
                    relname,
                    'WITH (' || array_to_string(reloptions, ', ') || ')'
                ) AS text
            FROM live
            UNION ALL
            SELECT
                2,
                conname,
                format(
                    'ALTER TABLE %s.%I ADD CONSTRAINT %I %s',
                    quote_ident($1), relname, conname, pg_get_constraintdef(pg_constraint.oid)
                )
            FROM live
            JOIN pg_constraint ON conrelid = live.oid AND contype IN ('p', 'u', 'x')
            UNION ALL
            -- Unique indexes that do not belong to a constraint.
            SELECT
                3,
                index_class.relname,
                replace(
                    pg_get_indexdef(index_class.oid),
                    format(' ON %I.%I USING ', 'public', live.relname),
                    format(' ON %s.%I USING ', quote_ident($1), live.relname)
                )
            FROM live
            JOIN pg_index ON pg_index.indrelid = live.oid
            JOIN pg_class AS index_class ON index_class.oid = pg_index.indexrelid
            WHERE pg_index.indisunique
              AND NOT EXISTS (
                  SELECT FROM pg_constraint WHERE conindid = index_class.oid AND contype IN ('p', 'u', 'x')
              )
        )
        SELECT text AS "text!"
        FROM statement
        ORDER BY step, name
        "#,
        schema,
        table,
        kind == ShadowKind::Replacement,
    )
    .fetch_all(connection)
    .await
}

/// Returns the statements that give the table in `schema` the owner and the row-level security of the live one.
#[tracing::instrument(name = "db.catalog.security", level = "debug", skip_all, err(level = "debug"))]
async fn security(
    connection: &mut PgConnection,
    schema: &str,
    table: &str,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        WITH live AS (
            SELECT *
            FROM pg_class
            WHERE oid = ('public.' || quote_ident($2))::regclass
        ),
        statement AS (
            SELECT
                1 AS step,
                '' AS name,
                format(
                    'ALTER TABLE %s.%I OWNER TO %I', quote_ident($1), relname, pg_get_userbyid(relowner)
                ) AS text
            FROM live
            UNION ALL
            SELECT 2, '', format('ALTER TABLE %s.%I ENABLE ROW LEVEL SECURITY', quote_ident($1), relname)
            FROM live
            WHERE relrowsecurity
            UNION ALL
            SELECT 3, '', format('ALTER TABLE %s.%I FORCE ROW LEVEL SECURITY', quote_ident($1), relname)
            FROM live
            WHERE relforcerowsecurity
            UNION ALL
            SELECT
                4,
                policyname,
                format(
                    'CREATE POLICY %I ON %s.%I AS %s FOR %s TO %s %s %s',
                    policyname, quote_ident($1), tablename, permissive, cmd,
                    (SELECT string_agg(quote_ident(role), ', ') FROM unnest(roles) AS role),
                    'USING (' || qual || ')',
                    'WITH CHECK (' || with_check || ')'
                )
            FROM pg_policies
            WHERE schemaname = 'public' AND tablename = $2
        )
        SELECT text AS "text!"
        FROM statement
        ORDER BY step, name
        "#,
        schema,
        table,
    )
    .fetch_all(connection)
    .await
}

/// Returns the statements that grant the rights on the live table for the table in `schema`.
#[tracing::instrument(name = "db.catalog.grants", level = "debug", skip_all, err(level = "debug"))]
async fn grants(
    connection: &mut PgConnection,
    schema: &str,
    table: &str,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        WITH live AS (
            SELECT *
            FROM pg_class
            WHERE oid = ('public.' || quote_ident($2))::regclass
        ),
        entry AS (
            SELECT relname, NULL::name AS of_column, entry.*
            FROM live
            CROSS JOIN aclexplode(relacl) AS entry
            WHERE grantee <> relowner
            UNION ALL
            SELECT relname, attname, entry.*
            FROM live
            JOIN pg_attribute ON attrelid = live.oid AND attnum > 0 AND NOT attisdropped
            CROSS JOIN aclexplode(attacl) AS entry
        )
        SELECT
            format(
                'GRANT %s %s ON %s.%I TO %s %s',
                privilege_type,
                '(' || quote_ident(of_column) || ')',
                quote_ident($1),
                relname,
                CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
                CASE WHEN is_grantable THEN 'WITH GRANT OPTION' END
            ) AS "text!"
        FROM entry
        ORDER BY of_column NULLS FIRST, grantee, privilege_type
        "#,
        schema,
        table,
    )
    .fetch_all(connection)
    .await
}

/// Creates empty tables like those of `projection` in `schema`. Indexes that folding does not need are created later,
/// by [`missing_indexes`].
///
/// # Errors
///
/// When the database fails, or `schema` has such a table.
pub(super) async fn create(
    connection: &mut PgConnection,
    schema: &str,
    projection: Projection,
    kind: ShadowKind,
) -> Result<(), sqlx::Error> {
    for table in projection.tables() {
        let mut statements = structure(connection, schema, table, kind).await?;
        if kind == ShadowKind::Replacement {
            statements.extend(security(connection, schema, table).await?);
            statements.extend(grants(connection, schema, table).await?);
        }
        for statement in statements {
            connection.execute(statement.as_str()).await?;
        }
    }
    Ok(())
}

/// Returns the statements that create the indexes which the tables of `projection` in `schema` lack. They build
/// concurrently, because a transaction would hold back the readers of the log meanwhile.
#[tracing::instrument(name = "db.catalog.missing_indexes", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn missing_indexes(
    connection: &mut PgConnection,
    schema: &str,
    projection: Projection,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        WITH has AS (
            SELECT
                pg_class.relnamespace::regnamespace::text AS schema,
                pg_class.relname AS on_table,
                index_class.relname AS name,
                index_class.oid,
                pg_index.indisvalid AS is_valid
            FROM pg_index
            JOIN pg_class ON pg_class.oid = pg_index.indrelid
            JOIN pg_class AS index_class ON index_class.oid = pg_index.indexrelid
            WHERE pg_class.relname = ANY($2)
        ),
        statement AS (
            -- What an interruption left half built.
            SELECT 1 AS step, name, format('DROP INDEX %I.%I', $1::text, name) AS text
            FROM has
            WHERE schema = $1::text AND NOT is_valid
            UNION ALL
            SELECT
                2,
                name,
                regexp_replace(
                    replace(
                        pg_get_indexdef(oid),
                        format(' ON %I.%I USING ', 'public', on_table),
                        format(' ON %I.%I USING ', $1::text, on_table)
                    ),
                    '^CREATE INDEX ',
                    'CREATE INDEX CONCURRENTLY '
                )
            FROM has AS live
            WHERE schema = 'public'
              AND NOT EXISTS (
                  SELECT FROM has WHERE has.schema = $1::text AND has.name = live.name AND has.is_valid
              )
        )
        SELECT text AS "text!"
        FROM statement
        ORDER BY step, name
        "#,
        schema,
        &names(projection),
    )
    .fetch_all(connection)
    .await
}

/// Gathers the planner's statistics, and builds the visibility map that index-only scans need.
pub(super) async fn vacuum(
    connection: &mut PgConnection,
    schema: &str,
    projection: Projection,
) -> Result<(), sqlx::Error> {
    let statement = sqlx::query_scalar!(
        r#"
        SELECT 'VACUUM (ANALYZE) ' || string_agg(format('%I.%I', $1::text, name), ', ') AS "text!"
        FROM unnest($2::text[]) AS name
        "#,
        schema,
        &names(projection),
    )
    .fetch_one(&mut *connection)
    .await?;
    connection.execute(statement.as_str()).await?;
    Ok(())
}

/// Returns whether all tables of `projection` are in `schema`.
pub(super) async fn exist(
    connection: &mut PgConnection,
    schema: &str,
    projection: Projection,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        SELECT bool_and(to_regclass(format('%I.%I', $1::text, name)) IS NOT NULL) AS "there!"
        FROM unnest($2::text[]) AS name
        "#,
        schema,
        &names(projection),
    )
    .fetch_one(connection)
    .await
}

/// Drops those of `tables` that exist in `schema`.
pub(super) async fn drop(
    connection: &mut PgConnection,
    schema: &str,
    tables: &[String],
) -> Result<(), sqlx::Error> {
    let statements = sqlx::query_scalar!(
        r#"
        SELECT format('DROP TABLE IF EXISTS %I.%I', $1::text, name) AS "text!"
        FROM unnest($2::text[]) AS name
        "#,
        schema,
        tables,
    )
    .fetch_all(&mut *connection)
    .await?;
    for statement in statements {
        connection.execute(statement.as_str()).await?;
    }
    Ok(())
}

/// Creates `schema` if it does not exist, and sets the session's search path to it, so that unqualified names mean its
/// tables. Other tables that `projections` read are visible through temporary views.
pub(super) async fn enter_schema(
    connection: &mut PgConnection,
    schema: &str,
    projections: &[Projection],
) -> Result<(), sqlx::Error> {
    let mut reads: Vec<String> =
        projections.iter().flat_map(|projection| projection.reads()).map(|&name| name.to_owned()).collect();
    reads.sort_unstable();
    reads.dedup();
    let statements = sqlx::query_scalar!(
        r#"
        SELECT format('CREATE SCHEMA IF NOT EXISTS %I', $1::text) AS "text!"
        WHERE to_regnamespace($1) IS NULL
        UNION ALL
        SELECT format('CREATE TEMPORARY VIEW %I AS SELECT * FROM public.%I', name, name)
        FROM unnest($2::text[]) AS name
        "#,
        schema,
        &reads,
    )
    .fetch_all(&mut *connection)
    .await?;
    for statement in statements {
        connection.execute(statement.as_str()).await?;
    }
    sqlx::query!("SELECT set_config('search_path', quote_ident($1) || ', pg_temp', false) AS path", schema)
        .fetch_one(connection)
        .await?;
    Ok(())
}

/// Drops `schema` if it is empty.
pub(super) async fn drop_empty_schema(
    connection: &mut PgConnection,
    schema: &str,
) -> Result<(), sqlx::Error> {
    let statement = sqlx::query_scalar!(
        r#"
        SELECT format('DROP SCHEMA %I', nspname) AS "text!"
        FROM pg_namespace
        WHERE nspname = $1
          AND NOT EXISTS (SELECT FROM pg_class WHERE relnamespace = pg_namespace.oid)
        "#,
        schema,
    )
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(statement) = statement {
        connection.execute(statement.as_str()).await?;
    }
    Ok(())
}

/// Returns the names of the tables of `projection`.
pub(super) fn names(projection: Projection) -> Vec<String> {
    projection.tables().iter().map(|&name| name.to_owned()).collect()
}
