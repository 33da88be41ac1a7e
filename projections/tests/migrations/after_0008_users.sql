INSERT INTO users (id, tenant_id, email_version, role, status, created_at, updated_at, deleted_at, deactivated_at,
                   has_second_factor, credentials_version, version) VALUES
    ('a0000000-0000-0000-0000-000000000001', '11111111-1111-1111-1111-111111111111', 1, 10, 0,
     '2026-07-01T00:00:00Z', '2026-07-01T00:00:00Z', NULL, NULL, true, 1, 1),
    ('a0000000-0000-0000-0000-000000000002', '11111111-1111-1111-1111-111111111111', NULL, 0, 1,
     '2026-07-01T00:00:00Z', '2026-07-01T00:00:00Z', '2026-07-02T00:00:00Z', '2026-07-02T00:00:00Z',
     false, 1, 3);
