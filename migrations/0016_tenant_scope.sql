-- The second lock between tenants. Every query names its tenant (the first lock); in a transaction that
-- has become `hooksentry_tenant` the database adds the condition itself, so that a query that forgets
-- it shows nothing of others.

-- Roles belong to the cluster, and other databases of it may be migrated at this moment. Whoever may
-- not create roles has an administrator create it and grant it beforehand.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'hooksentry_tenant') THEN
        BEGIN
            CREATE ROLE hooksentry_tenant NOLOGIN;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL; -- Another migration was first.
        END;
    END IF;
    IF NOT pg_has_role(current_user, 'hooksentry_tenant', 'MEMBER') THEN
        BEGIN
            GRANT hooksentry_tenant TO CURRENT_USER;
        EXCEPTION WHEN unique_violation THEN
            NULL; -- Another migration was first.
        END;
    END IF;
END
$$;

-- Tables made later, and new generations of these, are scoped by the same function.
CREATE FUNCTION scope_to_tenant(scoped regclass, tenant_column name DEFAULT 'tenant_id') RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', scoped);
    EXECUTE format(
        'CREATE POLICY of_one_tenant ON %s FOR SELECT TO hooksentry_tenant '
        'USING (%I = current_setting(''hooksentry.tenant_id'')::uuid)',
        scoped, tenant_column
    );
    EXECUTE format('GRANT SELECT ON %s TO hooksentry_tenant', scoped);
END
$$;

SELECT scope_to_tenant('tenants', 'id');
SELECT scope_to_tenant('users');
SELECT scope_to_tenant('invites');
SELECT scope_to_tenant('api_keys');
SELECT scope_to_tenant('destinations');
SELECT scope_to_tenant('senders');
SELECT scope_to_tenant('webhook_events');
SELECT scope_to_tenant('delivery_attempts');
SELECT scope_to_tenant('payloads');
SELECT scope_to_tenant('events');

-- Not granted, and so closed to `hooksentry_tenant` altogether: `sessions`, `ingest_routes` and
-- `data_keys` (only looked up by what a caller presents, before its tenant is known), `checkpoints` and
-- `leaderships` (of no tenant).
