-- A role for the running service that can read and extend the log and never change it. Run once, as the
-- owner of the database, after `hooksentry migrate`; then give the service this role's DATABASE_URL and
-- run later migrations as the owner.
--
--   psql "$OWNER_DATABASE_URL" -v password="'...'" -f docker/runtime-role.sql

CREATE ROLE hooksentry_runtime LOGIN PASSWORD :password;
GRANT hooksentry_tenant TO hooksentry_runtime;
GRANT USAGE ON SCHEMA public TO hooksentry_runtime;

-- Read models, checkpoints and the dispatcher's tables change with the log.
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO hooksentry_runtime;
ALTER DEFAULT PRIVILEGES IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO hooksentry_runtime;

-- Row-level security shows the tables to their owner and, one tenant at a time, to hooksentry_tenant.
-- The service itself looks across tenants (the dispatcher, the projector, ingest).
DO $$
DECLARE scoped regclass;
BEGIN
    FOR scoped IN SELECT oid FROM pg_class WHERE relrowsecurity AND relnamespace = 'public'::regnamespace LOOP
        EXECUTE format('CREATE POLICY of_the_service ON %s TO hooksentry_runtime USING (true) WITH CHECK (true)', scoped);
    END LOOP;
END
$$;

-- The log is read and extended, and nothing else: this is the second lock beside the trigger.
REVOKE UPDATE, DELETE, TRUNCATE ON events FROM hooksentry_runtime;
REVOKE ALL ON _sqlx_migrations FROM hooksentry_runtime;
GRANT SELECT ON _sqlx_migrations TO hooksentry_runtime;

-- Payloads are stored once and may be erased by law; they are never altered.
REVOKE UPDATE ON payloads FROM hooksentry_runtime;
