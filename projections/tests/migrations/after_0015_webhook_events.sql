INSERT INTO webhook_events (
    id, tenant_id, destination_id, sender_id, accepted_at, next_attempt_at, delivered_at, version, failed_attempts,
    attempts, status, last_outcome, last_http_status
)
SELECT
    ('e0000000-0000-0000-0000-00000000000' || status)::uuid, '11111111-1111-1111-1111-111111111111',
    'dd000000-0000-0000-0000-000000000001', NULL, '2026-07-01T00:00:00Z',
    CASE WHEN status = 4 THEN timestamptz '2026-07-03T00:00:00Z' END,
    CASE WHEN status = 2 THEN timestamptz '2026-07-02T00:00:00Z' END, 1 + status, status % 3, status % 4, status,
    nullif(status, 0), CASE WHEN status = 1 THEN 503 END
FROM generate_series(0, 6) AS status;
