//! Tables beside the live ones, of the same definition.
//!
//! What a table is (columns, constraints, indexes, options, owner, grants, row-level security) stands in
//! PostgreSQL's catalog and nowhere else, whatever migrations and operators did. So the statements that
//! make another table like it are written by the server, from the catalog, with its own quoting; here
//! they are only run. Names of constraints and indexes are kept, because later migrations name them.

use projections::Projection;
use sqlx::{Executor, PgConnection};

/// How complete the tables are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To become the live tables.
    ToServe,
    /// To be compared with the live tables and dropped: neither indexed for readers nor safe from a crash.
    ToCompare,
}

/// The statements that make an empty table like `table` in `schema`; not its indexes that only readers
/// need.
#[tracing::instrument(name = "db.catalog.make_table", level = "debug", skip_all, err(level = "debug"))]
async fn making(
    connection: &mut PgConnection,
    schema: &str,
    table: &str,
    purpose: Purpose,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        WITH live AS (
            SELECT *
            FROM pg_class
            WHERE oid = ('public.' || quote_ident($2))::regclass
        ),
        -- Each index that does not belong to a constraint.
        index AS (
            SELECT
                index_class.relname AS name,
                replace(
                    pg_get_indexdef(index_class.oid),
                    format(' ON %I.%I USING ', 'public', live.relname),
                    format(' ON %s.%I USING ', quote_ident($1), live.relname)
                ) AS definition
            FROM live
            JOIN pg_index ON pg_index.indrelid = live.oid
            JOIN pg_class AS index_class ON index_class.oid = pg_index.indexrelid
            WHERE pg_index.indisunique
              AND NOT EXISTS (
                  SELECT FROM pg_constraint WHERE conindid = index_class.oid AND contype IN ('p', 'u', 'x')
              )
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
            SELECT 3, name, definition
            FROM index
            UNION ALL
            SELECT 4, '', format('ALTER TABLE %s.%I OWNER TO %I', quote_ident($1), relname, pg_get_userbyid(relowner))
            FROM live
            WHERE $3
            UNION ALL
            SELECT 5, '', format('ALTER TABLE %s.%I ENABLE ROW LEVEL SECURITY', quote_ident($1), relname)
            FROM live
            WHERE $3 AND relrowsecurity
            UNION ALL
            SELECT 6, '', format('ALTER TABLE %s.%I FORCE ROW LEVEL SECURITY', quote_ident($1), relname)
            FROM live
            WHERE $3 AND relforcerowsecurity
            UNION ALL
            SELECT
                7,
                policyname,
                format(
                    'CREATE POLICY %I ON %s.%I AS %s FOR %s TO %s %s %s',
                    policyname, quote_ident($1), tablename, permissive, cmd,
                    (SELECT string_agg(quote_ident(role), ', ') FROM unnest(roles) AS role),
                    'USING (' || qual || ')',
                    'WITH CHECK (' || with_check || ')'
                )
            FROM pg_policies
            WHERE $3 AND schemaname = 'public' AND tablename = $2
            UNION ALL
            SELECT
                8,
                grantee::text || privilege_type,
                format(
                    'GRANT %s ON %s.%I TO %s %s',
                    privilege_type, quote_ident($1), relname,
                    CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
                    CASE WHEN is_grantable THEN 'WITH GRANT OPTION' END
                )
            FROM live
            CROSS JOIN aclexplode(relacl)
            WHERE $3 AND grantee <> relowner
            UNION ALL
            SELECT
                9,
                attname || grantee::text || privilege_type,
                format(
                    'GRANT %s (%I) ON %s.%I TO %s',
                    privilege_type, attname, quote_ident($1), relname,
                    CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END
                )
            FROM live
            JOIN pg_attribute ON attrelid = live.oid AND attnum > 0 AND NOT attisdropped
            CROSS JOIN aclexplode(attacl)
            WHERE $3
        )
        SELECT text AS "text!"
        FROM statement
        ORDER BY step, name
        "#,
        schema,
        table,
        purpose == Purpose::ToServe,
    )
    .fetch_all(connection)
    .await
}

/// Makes empty tables like those of `projection` in `schema`. Indexes that folding does not need come
/// with [`missing_indexes`].
pub(super) async fn make(
    connection: &mut PgConnection,
    schema: &str,
    projection: Projection,
    purpose: Purpose,
) -> Result<(), sqlx::Error> {
    for table in projection.tables() {
        for statement in making(connection, schema, table, purpose).await? {
            connection.execute(statement.as_str()).await?;
        }
    }
    Ok(())
}

/// The statements that make the indexes which the tables of `projection` in `schema` lack. Each of them is
/// built without a transaction that would hold back the readers of the log meanwhile.
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

/// Tells the planner what is in the tables, and readers of indexes that they need not look at the rows.
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

/// Whether all of `tables` are in `schema`.
pub(super) async fn are_there(
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

/// Drops those of `tables` that are in `schema`.
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

/// Makes `schema`, if it is not there, and lets unqualified names mean its tables and no live ones. What
/// `projections` read beside their own rows is reached through views that end with the session.
pub(super) async fn enter(
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

/// Drops `schema`, if nothing is left in it.
pub(super) async fn leave(connection: &mut PgConnection, schema: &str) -> Result<(), sqlx::Error> {
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

/// The names of the tables of `projection`.
pub(super) fn names(projection: Projection) -> Vec<String> {
    projection.tables().iter().map(|&name| name.to_owned()).collect()
}
