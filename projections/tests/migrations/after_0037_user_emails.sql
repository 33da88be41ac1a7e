INSERT INTO user_emails (user_id, version, tenant_id, email, salt) VALUES
    ('a0000000-0000-0000-0000-000000000001', 1, '11111111-1111-1111-1111-111111111111', 'owner@acme.com',
     decode(repeat('07', 32), 'hex'));
