//! The live tables: their definition, what keeps them from being replaced, and their replacement.

use projections::Projection;
use sqlx::{Executor, PgConnection};

use super::ddl::names;

/// Locks the live tables of `projection` exclusively until the transaction ends.
pub(super) async fn lock(connection: &mut PgConnection, projection: Projection) -> Result<(), sqlx::Error> {
    let statement = sqlx::query_scalar!(
        r#"
        SELECT
            'LOCK TABLE ' || string_agg(format('public.%I', name), ', ' ORDER BY name)
                || ' IN ACCESS EXCLUSIVE MODE' AS "text!"
        FROM unnest($1::text[]) AS name
        "#,
        &names(projection),
    )
    .fetch_one(&mut *connection)
    .await?;
    connection.execute(statement.as_str()).await?;
    Ok(())
}

/// Drops the live tables of `projection`, which must be locked, and moves those of `schema` to their place.
pub(super) async fn replace(
    connection: &mut PgConnection,
    schema: &str,
    projection: Projection,
) -> Result<(), sqlx::Error> {
    let statements = sqlx::query_scalar!(
        r#"
        SELECT text AS "text!"
        FROM unnest($2::text[]) AS name
        CROSS JOIN LATERAL (
            VALUES
                (1, format('DROP TABLE public.%I', name)),
                (2, format('ALTER TABLE %I.%I SET SCHEMA public', $1::text, name))
        ) AS statement (step, text)
        ORDER BY step, name
        "#,
        schema,
        &names(projection),
    )
    .fetch_all(&mut *connection)
    .await?;
    for statement in statements {
        connection.execute(statement.as_str()).await?;
    }
    Ok(())
}

/// Returns a text that changes whenever the definition of the live tables of `projection` changes.
#[tracing::instrument(name = "db.catalog.definition", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn definition(
    connection: &mut PgConnection,
    projection: Projection,
) -> Result<String, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        WITH live AS (
            SELECT pg_class.*
            FROM unnest($1::text[]) AS name
            JOIN pg_class ON pg_class.oid = format('public.%I', name)::regclass
        ),
        part AS (
            SELECT
                1 AS kind,
                relname AS of_table,
                attnum::bigint AS number,
                concat_ws(
                    ' ', attname, format_type(atttypid, atttypmod), attnotnull::text, attgenerated, attidentity,
                    attcollation::regcollation::text, pg_get_expr(adbin, adrelid), attacl::text
                ) AS text
            FROM live
            JOIN pg_attribute ON attrelid = live.oid AND attnum > 0 AND NOT attisdropped
            LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
            UNION ALL
            SELECT 2, relname, 0, concat_ws(' ', conname, pg_get_constraintdef(pg_constraint.oid))
            FROM live
            JOIN pg_constraint ON conrelid = live.oid
            UNION ALL
            SELECT 3, relname, 0, pg_get_indexdef(indexrelid)
            FROM live
            JOIN pg_index ON indrelid = live.oid
            UNION ALL
            SELECT
                4, relname, 0,
                concat_ws(' ', reloptions::text, relacl::text, relowner::regrole::text, relrowsecurity::text)
            FROM live
            UNION ALL
            SELECT 5, relname, 0, concat_ws(' ', policyname, permissive, cmd, roles::text, qual, with_check)
            FROM live
            JOIN pg_policies ON schemaname = 'public' AND tablename = relname
        )
        SELECT coalesce(string_agg(of_table || ' ' || text, E'\n' ORDER BY of_table, kind, number, text), '')
            AS "definition!"
        FROM part
        "#,
        &names(projection),
    )
    .fetch_one(connection)
    .await
}

/// Describes what keeps the tables of `projection` from being replaced; empty, if nothing does.
#[tracing::instrument(name = "db.catalog.obstacles", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn obstacles(
    connection: &mut PgConnection,
    projection: Projection,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        WITH live AS (
            SELECT name, to_regclass(format('public.%I', name)) AS oid
            FROM unnest($1::text[]) AS name
        )
        SELECT format('there is no table %s', name) AS "text!"
        FROM live
        WHERE oid IS NULL
        UNION ALL
        SELECT format('the trigger %s on %s would be lost', tgname, name)
        FROM live
        JOIN pg_trigger ON tgrelid = live.oid AND NOT tgisinternal
        UNION ALL
        SELECT format('the foreign key %s ties %s to another table', conname, name)
        FROM live
        JOIN pg_constraint ON live.oid IN (conrelid, confrelid) AND contype = 'f'
        UNION ALL
        SELECT DISTINCT format('the view %s shows %s', ev_class::regclass, name)
        FROM live
        JOIN pg_depend ON refclassid = 'pg_class'::regclass AND refobjid = live.oid
        JOIN pg_rewrite ON classid = 'pg_rewrite'::regclass AND objid = pg_rewrite.oid AND ev_class <> live.oid
        ORDER BY 1
        "#,
        &names(projection),
    )
    .fetch_all(connection)
    .await
}

/// Returns whether this user may replace the tables of `projection`.
pub(super) async fn may_replace(
    connection: &mut PgConnection,
    projection: Projection,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        SELECT
            bool_and(pg_has_role(relowner, 'USAGE'))
            AND has_database_privilege(current_database(), 'CREATE, TEMPORARY')
            AND has_schema_privilege('public', 'CREATE') AS "may!"
        FROM unnest($1::text[]) AS name
        JOIN pg_class ON pg_class.oid = to_regclass(format('public.%I', name))
        "#,
        &names(projection),
    )
    .fetch_one(connection)
    .await
}
