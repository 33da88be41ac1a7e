INSERT INTO due_deliveries (
    event_id, tenant_id, destination_id, due_at, stream_version, attempts, failed_attempts, started_at, timeout_ms,
    unknown_in_a_row
) VALUES
    ('e0000000-0000-0000-0000-000000000004', '11111111-1111-1111-1111-111111111111',
     'dd000000-0000-0000-0000-000000000001', '2026-07-03T00:00:00Z', 5, 1, 1, NULL, NULL, 0),
    ('e0000000-0000-0000-0000-000000000001', '11111111-1111-1111-1111-111111111111',
     'dd000000-0000-0000-0000-000000000001', '2026-07-01T00:00:00Z', 2, 1, 0, '2026-07-02T00:00:00Z', 30000, 2);
