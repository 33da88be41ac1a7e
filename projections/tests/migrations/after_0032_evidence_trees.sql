INSERT INTO evidence_trees (log_id, tenant_id, era, data_key, size, edge, positions) VALUES
    ('e1000000-0000-0000-0000-000000000001', '11111111-1111-1111-1111-111111111111', 1,
     'e2000000-0000-0000-0000-000000000001', 1, '\x00', '\x00');
