INSERT INTO tenants (
    id, name, max_attempts, circuit_breaker_timer, secret_data_key, secret_ciphertext, secret_fingerprint,
    previous_secret_data_key, previous_secret_ciphertext, previous_secret_fingerprint, previous_signs_until,
    created_at, updated_at, version, payload_retention_days, event_retention_days, suspended_at, suspension_reason
) VALUES
    ('11111111-1111-1111-1111-111111111111', 'Acme', 5, 60, 'd0000000-0000-0000-0000-000000000001', 'c', 'f',
     NULL, NULL, NULL, NULL, '2026-07-01T00:00:00Z', '2026-07-01T00:00:00Z', 1, NULL, NULL, NULL, NULL),
    ('22222222-2222-2222-2222-222222222222', 'Rival', 5, 60, 'd0000000-0000-0000-0000-000000000001', 'c', 'f',
     'd0000000-0000-0000-0000-000000000001', 'p', 'q', '2026-07-02T00:00:00Z', '2026-07-01T00:00:00Z',
     '2026-07-01T00:00:00Z', 2, 30, 60, '2026-07-03T00:00:00Z', 'spam');
