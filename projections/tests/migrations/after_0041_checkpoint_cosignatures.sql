INSERT INTO checkpoint_cosignatures (log_id, size, vkey, cosignature, cosigned_at) VALUES
    ('e1000000-0000-0000-0000-000000000001', 1,
     'witness.example+ad4a5cb7+BHqWTdSMMqJ7PIHJsmP7PJg7MZGUPAMFn5lb8sWtAvDk', 'a cosignature', '2026-11-22 10:00:00+00');
