INSERT INTO sessions (id, tenant_id, user_id, credentials_version, token_family_hash, refresh_token_hash, expires_at,
                      opened_at, closed_at, version)
VALUES ('50000000-0000-0000-0000-000000000001', '11111111-1111-1111-1111-111111111111',
        'a0000000-0000-0000-0000-000000000001', 1, 'f', 'h', '2026-08-01T00:00:00Z', '2026-07-01T00:00:00Z', NULL, 1);
