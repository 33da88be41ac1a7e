INSERT INTO invites (
    id, tenant_id, target_role, token_hash, token_data_key, token_ciphertext, expires_at, created_at, used_at, version
) VALUES ('b0000000-0000-0000-0000-000000000001', '11111111-1111-1111-1111-111111111111', 20, 'h',
          'd0000000-0000-0000-0000-000000000001', 'c', '2026-08-01T00:00:00Z', '2026-07-01T00:00:00Z', NULL, 1);
