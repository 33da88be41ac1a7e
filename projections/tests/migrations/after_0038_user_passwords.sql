INSERT INTO user_passwords (user_id, tenant_id, version, password_hash) VALUES
    ('a0000000-0000-0000-0000-000000000001', '11111111-1111-1111-1111-111111111111', 1, 'h');
