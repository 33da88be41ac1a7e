INSERT INTO attempt_responses (event_id, attempt, tenant_id, response, salt) VALUES
    ('e0000000-0000-0000-0000-000000000002', 1, '11111111-1111-1111-1111-111111111111',
     '{"headers":{"server":"x"},"excerpt":"ok"}', decode(repeat('07', 32), 'hex'));
