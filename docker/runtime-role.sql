-- Creates a database role for the running service that can read and append to the log but not change it. Run
-- this once, as the owner of the database, after `hooksentry migrate`; then set the DATABASE_URL of the
-- service to this role and run later migrations as the owner.
--
--   psql "$OWNER_DATABASE_URL" -v password="'...'" -f docker/runtime-role.sql

CREATE ROLE hooksentry_runtime LOGIN PASSWORD :password;
GRANT hooksentry_tenant TO hooksentry_runtime;
GRANT USAGE ON SCHEMA public TO hooksentry_runtime;

-- The service changes read models, checkpoints and the dispatcher's tables.
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO hooksentry_runtime;
ALTER DEFAULT PRIVILEGES IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO hooksentry_runtime;

-- Row-level security gives access to the owner of the tables and, for one tenant at a time, to
-- hooksentry_tenant. The service itself reads rows of all tenants (dispatcher, projector, ingest).
DO $$
DECLARE scoped regclass;
BEGIN
    FOR scoped IN SELECT oid FROM pg_class WHERE relrowsecurity AND relnamespace = 'public'::regnamespace LOOP
        EXECUTE format('CREATE POLICY of_the_service ON %s TO hooksentry_runtime USING (true) WITH CHECK (true)', scoped);
    END LOOP;
END
$$;

-- The log is append-only. A trigger enforces that as well.
REVOKE UPDATE, DELETE, TRUNCATE ON events FROM hooksentry_runtime;
REVOKE ALL ON _sqlx_migrations FROM hooksentry_runtime;
GRANT SELECT ON _sqlx_migrations TO hooksentry_runtime;

-- Payloads are stored once and may be erased to comply with the law, but are never updated.
REVOKE UPDATE ON payloads FROM hooksentry_runtime;
