-- Row-level security: the second lock between tenants. Every query names its tenant (the first lock). In a
-- transaction with the role `hooksentry_tenant` the database adds the condition itself, so that a query without
-- it returns no rows of other tenants.
--
-- Tables that are not scoped are closed to `hooksentry_tenant`: `revocations`, `ingest_routes`, `data_keys`, `user_passwords` and
-- `second_factor_steps` are read before the tenant of the caller is known, the others belong to no tenant or show nothing to tenants.

-- Creates the role and grants it to the current user. Roles belong to the cluster: other databases of it may be migrated
-- at the same time, and a dump of the database does not contain them. If the user may not create roles, an administrator
-- creates this one and grants it beforehand.
CREATE FUNCTION create_tenant_role() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'hooksentry_tenant') THEN
        BEGIN
            CREATE ROLE hooksentry_tenant NOLOGIN;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL; -- A concurrent migration was first.
        END;
    END IF;
    IF NOT pg_has_role(current_user, 'hooksentry_tenant', 'MEMBER') THEN
        BEGIN
            GRANT hooksentry_tenant TO CURRENT_USER;
        EXCEPTION WHEN unique_violation THEN
            NULL; -- A concurrent migration was first.
        END;
    END IF;
END
$$;

SELECT create_tenant_role();

-- Scopes a table to the tenant named by the setting `hooksentry.tenant_id`. The role that the service runs as, if it
-- has one of its own (`docker/runtime-role.sql`), has all rows of the table.
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
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'hooksentry_runtime') THEN
        EXECUTE format(
            'CREATE POLICY of_the_service ON %s TO hooksentry_runtime USING (true) WITH CHECK (true)', scoped
        );
    END IF;
END
$$;
