-- Appends to every stream or to none, and returns the positions of the facts: none if a stream does not have its expected
-- version. With the facts it stores which rights they take away, and what is personal and must not be in them.
WITH appended AS (
    INSERT INTO events
        (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
    SELECT
        aggregate_type, aggregate_id, sequence, event_type, event_version, payload::json, metadata::json
    FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[])
        AS incoming
        (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
    WHERE NOT EXISTS (
        SELECT
        FROM unnest($3::bigint[], $8::bool[]) WITH ORDINALITY AS first (sequence, head, number)
        JOIN stream_versions($1::text[], $2::text[]) AS stream USING (number)
        WHERE head
          AND stream.version <> first.sequence - 1
    )
    RETURNING transaction_id, position, aggregate_id, sequence, event_type
),
revoked AS (
    INSERT INTO revocations (stream_id, version)
    SELECT aggregate_id::uuid, max(sequence)
    FROM appended
    WHERE event_type = ANY($9)
    GROUP BY aggregate_id
    ORDER BY aggregate_id
    ON CONFLICT (stream_id) DO UPDATE SET version = excluded.version
),
originated AS (
    INSERT INTO fact_origins (id, tenant_id, user_id, origin, salt)
    SELECT id, tenant_id, user_id, origin::json, salt
    FROM unnest($10::uuid[], $11::uuid[], $12::uuid[], $13::text[], $14::bytea[])
        AS origins (id, tenant_id, user_id, origin, salt)
    WHERE EXISTS (SELECT FROM appended)
    ON CONFLICT (id) DO NOTHING
),
emails AS (
    INSERT INTO user_emails (user_id, version, tenant_id, email, salt)
    SELECT user_id, version, tenant_id, email, salt
    FROM unnest($15::uuid[], $16::bigint[], $17::uuid[], $18::text[], $19::bytea[])
        AS emails (user_id, version, tenant_id, email, salt)
    WHERE EXISTS (SELECT FROM appended)
),
passwords AS (
    INSERT INTO user_passwords (user_id, version, tenant_id, password_hash)
    SELECT user_id, version, tenant_id, password_hash
    FROM unnest($20::uuid[], $21::bigint[], $22::uuid[], $23::text[])
        AS passwords (user_id, version, tenant_id, password_hash)
    WHERE EXISTS (SELECT FROM appended)
    ON CONFLICT (user_id) DO UPDATE SET version = excluded.version, password_hash = excluded.password_hash
),
forgotten AS (
    DELETE FROM user_passwords
    WHERE user_id IN (SELECT aggregate_id::uuid FROM appended WHERE event_type = 'UserDeleted')
)
SELECT transaction_id AS "transaction_id: _", position
FROM appended
