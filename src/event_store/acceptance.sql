-- Appends EventAccepted and stores the payload for each event whose credentials are valid, and returns a row for each
-- of those events: with the position of the fact, or without one if the event exists already.
--
-- Rows are inserted in the order of their ids, so that two batches with common ids wait for one another instead of
-- deadlocking. `ingest_routes`, `api_keys` and `tenants` belong to their projections; they are queried here because they
-- must be checked in the statement that appends. They may be behind the log, `revocations` never is.
--
-- `(... IN ...) IS TRUE` is a lookup in a hash table. PostgreSQL expects one row of `admitted` and `appended`, so a join
-- would compare every row of the one with every row of the other.
WITH incoming AS (
    SELECT *
    FROM unnest(
        $1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::bigint[],
        $6::text[], $7::text[], $8::bytea[], $9::bytea[], $10::smallint[], $11::bytea[], $12::text[]
    ) AS incoming (
        event_id, tenant_id, key_hash, token_hash, route_version,
        fact, metadata, delivered, received, hops, salt, idempotency_key
    )
),
admitted AS (
    SELECT incoming.*
    FROM incoming
    JOIN ingest_routes AS route
      ON route.token_hash = incoming.token_hash
     AND route.tenant_id = incoming.tenant_id
     AND route.version = incoming.route_version
     AND route.receives
     AND route.owner_sequence >= coalesce((SELECT version FROM revocations WHERE stream_id = route.owner_id), 0)
    JOIN api_keys AS key
      ON key.key_hash = incoming.key_hash
     AND key.tenant_id = incoming.tenant_id
     AND key.revoked_at IS NULL
     AND key.version >= coalesce((SELECT version FROM revocations WHERE stream_id = key.id), 0)
    WHERE (
        SELECT
            suspended_at IS NOT NULL
                OR version < coalesce((SELECT version FROM revocations WHERE stream_id = tenants.id), 0)
        FROM tenants
        WHERE tenants.id = incoming.tenant_id
    ) IS NOT TRUE
),
appended AS (
    INSERT INTO events
        (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
    SELECT 'WebhookEvent', event_id::text, 1, 'EventAccepted', $13::text, fact::json, metadata::json
    FROM admitted
    ORDER BY event_id
    ON CONFLICT DO NOTHING
    RETURNING transaction_id, position, aggregate_id
),
stored AS (
    INSERT INTO payloads (event_id, tenant_id, delivered, received, hops, salt, idempotency_key)
    SELECT event_id, tenant_id, delivered, received, hops, salt, idempotency_key
    FROM admitted
    WHERE (event_id::text IN (SELECT aggregate_id FROM appended)) IS TRUE
)
SELECT aggregate_id::uuid AS "event_id!", transaction_id AS "transaction_id?: TransactionId", position AS "position?"
FROM appended
UNION ALL
SELECT event_id, NULL, NULL
FROM admitted
WHERE (event_id::text IN (SELECT aggregate_id FROM appended)) IS NOT TRUE
