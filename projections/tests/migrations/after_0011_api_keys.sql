INSERT INTO api_keys (id, tenant_id, name, key_hash, created_at, revoked_at, version)
VALUES ('c0000000-0000-0000-0000-000000000001', '11111111-1111-1111-1111-111111111111', 'Production', 'h',
        '2026-07-01T00:00:00Z', NULL, 1);
