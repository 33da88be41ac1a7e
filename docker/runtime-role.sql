-- Creates a database role for the running service that can read and append to the log but not change it. Run
-- this as the owner of the database, after `hooksentry migrate`; then set the DATABASE_URL of the service to this
-- role, and run later migrations as the same owner: their tables are open to the role at once. It may be run
-- again, for example for another database of the same server or after a restore.
--
--   psql "$OWNER_DATABASE_URL" -v ON_ERROR_STOP=1 -v password="'...'" -f docker/runtime-role.sql

SET hooksentry.runtime_password = :password;
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'hooksentry_runtime') THEN
        CREATE ROLE hooksentry_runtime LOGIN;
    END IF;
    EXECUTE format('ALTER ROLE hooksentry_runtime PASSWORD %L', current_setting('hooksentry.runtime_password'));
END
$$;
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
        EXECUTE format('DROP POLICY IF EXISTS of_the_service ON %s', scoped);
        EXECUTE format('CREATE POLICY of_the_service ON %s TO hooksentry_runtime USING (true) WITH CHECK (true)', scoped);
    END LOOP;
END
$$;

-- The log is append-only. A trigger enforces that as well.
REVOKE UPDATE, DELETE, TRUNCATE ON events FROM hooksentry_runtime;
-- Tiles, checkpoints with cosignatures and time stamps, and public keys are written once; of a key, the retirement follows.
REVOKE UPDATE, DELETE, TRUNCATE ON
    evidence_tiles, evidence_checkpoints, checkpoint_cosignatures, checkpoint_timestamps
    FROM hooksentry_runtime;
REVOKE DELETE, TRUNCATE ON evidence_log_keys FROM hooksentry_runtime;
REVOKE ALL ON _sqlx_migrations FROM hooksentry_runtime;
GRANT SELECT ON _sqlx_migrations TO hooksentry_runtime;

-- Payloads, responses and email addresses are stored once and may be erased to comply with the law, but are never updated.
REVOKE UPDATE ON payloads, attempt_responses, user_emails FROM hooksentry_runtime;
