-- Creates a database role for processes with the role `worker` alone (`hooksentry serve --roles worker`). Workers talk to
-- servers of strangers. With this role such a process reads no users, sessions, invites, API keys or ingest tokens, in
-- tables or in the log, and writes nothing but facts of webhook events and the keys of tenants. Run this as the owner
-- of the database, after `hooksentry migrate`, and again after each later migration.
--
--   psql "$OWNER_DATABASE_URL" -v ON_ERROR_STOP=1 -v password="'...'" -f docker/worker-role.sql

SET hooksentry.worker_password = :password;
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'hooksentry_worker') THEN
        CREATE ROLE hooksentry_worker LOGIN;
    END IF;
    EXECUTE format('ALTER ROLE hooksentry_worker PASSWORD %L', current_setting('hooksentry.worker_password'));
END
$$;
GRANT USAGE ON SCHEMA public TO hooksentry_worker;

-- What an attempt needs: its event and payload, the settings of destination and tenant, and the keys of their secrets.
GRANT SELECT ON
    _sqlx_migrations, events, log_eras, leaderships, payloads, destinations, tenants, data_keys
TO hooksentry_worker;
GRANT INSERT ON events, attempt_responses, data_keys TO hooksentry_worker;

-- What its health endpoint reports.
GRANT SELECT ON checkpoints, quarantined_streams, set_aside_events, unaccounted_events, completeness_check, due_deliveries,
    evidence_trees, evidence_checkpoints, checkpoint_cosignatures, checkpoint_timestamps
TO hooksentry_worker;

DROP POLICY IF EXISTS of_workers ON events;
CREATE POLICY of_workers ON events FOR SELECT TO hooksentry_worker
    USING (aggregate_type IN ('WebhookEvent', 'Destination', 'Tenant'));
DROP POLICY IF EXISTS appended_by_workers ON events;
CREATE POLICY appended_by_workers ON events FOR INSERT TO hooksentry_worker
    WITH CHECK (aggregate_type = 'WebhookEvent');
DO $$
DECLARE scoped regclass;
BEGIN
    FOREACH scoped IN ARRAY ARRAY['payloads', 'destinations', 'tenants', 'evidence_trees', 'evidence_checkpoints']::regclass[] LOOP
        EXECUTE format('DROP POLICY IF EXISTS of_workers ON %s', scoped);
        EXECUTE format('CREATE POLICY of_workers ON %s FOR SELECT TO hooksentry_worker USING (true)', scoped);
    END LOOP;
END
$$;
DROP POLICY IF EXISTS stored_by_workers ON attempt_responses;
CREATE POLICY stored_by_workers ON attempt_responses FOR INSERT TO hooksentry_worker WITH CHECK (true);
