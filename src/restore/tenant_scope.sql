DO $$
DECLARE scoped record;
BEGIN
    PERFORM create_tenant_role();
    FOR scoped IN
        SELECT
            class.oid::regclass AS name,
            -- The table of tenants is scoped by its own id.
            CASE WHEN tenant_column.attname IS NULL THEN 'id' ELSE 'tenant_id' END::name AS tenant_column
        FROM pg_class AS class
        LEFT JOIN pg_attribute AS tenant_column
               ON tenant_column.attrelid = class.oid
              AND tenant_column.attname = 'tenant_id'
              AND NOT tenant_column.attisdropped
        WHERE class.relnamespace = 'public'::regnamespace
          AND class.relrowsecurity
          AND NOT EXISTS (
              SELECT FROM pg_policy WHERE polrelid = class.oid AND polname = 'of_one_tenant'
          )
    LOOP
        -- `scope_to_tenant` creates the service's policy too, which the dump may have restored.
        EXECUTE format('DROP POLICY IF EXISTS of_the_service ON %s', scoped.name);
        PERFORM scope_to_tenant(scoped.name, scoped.tenant_column);
    END LOOP;
    GRANT SELECT (under_way) ON webhook_event_recounts TO hooksentry_tenant;
END
$$
