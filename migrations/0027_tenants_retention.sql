-- How long a tenant keeps events that have ended, in days after their acceptance; NULL: for ever.
ALTER TABLE tenants
    ADD COLUMN payload_retention_days bigint,
    ADD COLUMN event_retention_days   bigint;
