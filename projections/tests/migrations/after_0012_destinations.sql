INSERT INTO destinations (
    id, tenant_id, url, concurrency_limit, auth_type, credentials_data_key, credentials_ciphertext, stage,
    stage_version, next_check_at, created_at, updated_at, version
) VALUES
    ('dd000000-0000-0000-0000-000000000001', '11111111-1111-1111-1111-111111111111', 'https://one.example/', 5,
     3, 'd0000000-0000-0000-0000-000000000001', 'c', 2, 4, '2026-07-03T00:00:00Z', '2026-07-01T00:00:00Z',
     '2026-07-02T00:00:00Z', 4),
    ('dd000000-0000-0000-0000-000000000002', '11111111-1111-1111-1111-111111111111', 'https://two.example/', 1,
     NULL, NULL, NULL, 3, 1, NULL, '2026-07-01T00:00:00Z', '2026-07-01T00:00:00Z', 1);
