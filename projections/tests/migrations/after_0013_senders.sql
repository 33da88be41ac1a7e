INSERT INTO senders (id, tenant_id, destination_id, label, mapping, created_at, updated_at, deleted_at, version)
VALUES ('f0000000-0000-0000-0000-000000000001', '11111111-1111-1111-1111-111111111111',
        'dd000000-0000-0000-0000-000000000001', 'GitHub', '{"a":"b"}', '2026-07-01T00:00:00Z',
        '2026-07-01T00:00:00Z', NULL, 1);
