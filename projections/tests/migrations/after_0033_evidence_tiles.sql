INSERT INTO evidence_tiles (log_id, tenant_id, level, index, hashes) VALUES
    ('e1000000-0000-0000-0000-000000000001', '11111111-1111-1111-1111-111111111111', 1, 0,
     decode(repeat('07', 8192), 'hex'));
