INSERT INTO evidence_checkpoints (log_id, tenant_id, size, note, installation_log_id, installation_index) VALUES
    ('e1000000-0000-0000-0000-000000000001', '11111111-1111-1111-1111-111111111111', 1, 'a note',
     'e1000000-0000-0000-0000-000000000002', 0);
