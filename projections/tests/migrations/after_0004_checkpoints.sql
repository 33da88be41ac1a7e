INSERT INTO checkpoints (reader, transaction_id, position, epoch, halted_because, held_until) VALUES
    ('dispatcher', '700', 12, 3, NULL, NULL),
    ('webhook_events', '700', 11, 3, 'a fact does not apply', '2026-07-03T00:00:00Z');
