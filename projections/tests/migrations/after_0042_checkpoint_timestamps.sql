INSERT INTO checkpoint_timestamps (log_id, size, answer) VALUES
    ('e1000000-0000-0000-0000-000000000001', 1, '\x3000');
