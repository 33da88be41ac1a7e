INSERT INTO quarantined_streams (aggregate_type, aggregate_id, tenant_id, missing_sequence)
VALUES ('WebhookEvent', 'e0000000-0000-0000-0000-000000000004', '11111111-1111-1111-1111-111111111111', 2);
