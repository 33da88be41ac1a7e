INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
VALUES ('Tenant', '11111111-1111-1111-1111-111111111111', 1, 'TenantRegistered', '1.0', '{}', '{"tenantId":"11111111-1111-1111-1111-111111111111"}');
