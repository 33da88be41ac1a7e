INSERT INTO checkpoints (reader, transaction_id, position, epoch, halted_because, held_until) VALUES
    ('dispatcher', '700', 12, 3, NULL, NULL),
    ('webhook_events', '700', 11, 3, 'a fact does not apply', '2026-07-03T00:00:00Z');
INSERT INTO unaccounted_events (event_id, tenant_id, found_at)
VALUES ('e0000000-0000-0000-0000-000000000001', '11111111-1111-1111-1111-111111111111', '2026-07-01T00:00:00Z');
