INSERT INTO delivery_attempts (
    event_id, attempt, tenant_id, destination_id, worker, destination_version, tenant_version, started_at,
    finished_at, outcome, http_status, duration_ms, address, detail
) VALUES
    ('e0000000-0000-0000-0000-000000000002', 1, '11111111-1111-1111-1111-111111111111',
     'dd000000-0000-0000-0000-000000000001', 'w', 4, 1, '2026-07-02T00:00:00Z', '2026-07-02T00:00:01Z', 'succeeded',
     200, 1000, '192.0.2.1:443', NULL),
    ('e0000000-0000-0000-0000-000000000001', 1, '11111111-1111-1111-1111-111111111111',
     'dd000000-0000-0000-0000-000000000001', 'w', 4, 1, '2026-07-02T00:00:00Z', NULL, NULL, NULL, NULL, NULL, NULL);
