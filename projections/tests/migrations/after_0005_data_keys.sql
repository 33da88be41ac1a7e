INSERT INTO data_keys (id, tenant_id, wrapping_key_id, wrapped)
VALUES ('d0000000-0000-0000-0000-000000000001', '11111111-1111-1111-1111-111111111111', '0123456789abcdef', decode(repeat('ab', 60), 'hex'));
