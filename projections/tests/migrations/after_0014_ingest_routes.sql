INSERT INTO ingest_routes (
    owner_id, token_hash, tenant_id, destination_id, sender_id, mapping, stage, version, owner_sequence,
    destination_sequence
) VALUES
    ('dd000000-0000-0000-0000-000000000001', 'h', '11111111-1111-1111-1111-111111111111',
     'dd000000-0000-0000-0000-000000000001', NULL, NULL, 2, 9, 4, 4),
    ('f0000000-0000-0000-0000-000000000001', NULL, '11111111-1111-1111-1111-111111111111',
     'dd000000-0000-0000-0000-000000000001', 'f0000000-0000-0000-0000-000000000001', '{"a":"b"}', 2, 10, 2, 4);
