-- Appends DeliveryStarted for each claim that is valid, and returns a row for each claim, in their order.
--
-- `lock_epoch` makes a new leader wait until all claims of the previous epoch are in the log, and makes later claims
-- see the new epoch: the new leader counts every attempt that is in flight. `destinations` and `tenants` belong to
-- their projections; they are queried here because the settings must be checked in the statement that appends.
--
-- No payloads are returned: while a client does not read them, the transaction would stay open and hold back every
-- reader of the log.
WITH leadership AS MATERIALIZED (
    SELECT lock_epoch('dispatcher') AS epoch
),
incoming AS (
    SELECT
        incoming.*,
        -- The worker may have read newer settings from the log than the read models have.
        (destinations.version > incoming.destination_version) IS NOT TRUE
            AND (tenants.version > incoming.tenant_version) IS NOT TRUE AS current
    FROM unnest(
        $1::uuid[], $2::bigint[], $3::bigint[], $4::uuid[], $5::bigint[], $6::uuid[], $7::bigint[],
        $8::text[], $9::text[]
    ) WITH ORDINALITY AS incoming (
        event_id, sequence, epoch, destination_id, destination_version, tenant_id, tenant_version,
        fact, metadata, number
    )
    LEFT JOIN destinations ON destinations.id = incoming.destination_id
    LEFT JOIN tenants ON tenants.id = incoming.tenant_id
),
-- Of several copies of a job in this statement one is a candidate, and only that one can win.
candidates AS (
    SELECT DISTINCT ON (event_id, sequence) incoming.*
    FROM incoming
    JOIN leadership ON leadership.epoch = incoming.epoch
    -- The fact that the claim follows, by its key. LIMIT forbids every other plan, such as a join with the log.
    CROSS JOIN LATERAL (
        SELECT tenant_id, payload
        FROM events
        WHERE aggregate_type = 'WebhookEvent'
          AND aggregate_id = incoming.event_id::text
          AND sequence = incoming.sequence - 1
        LIMIT 1
    ) AS predecessor
    WHERE current
      -- Anyone who can write to the queue can make a job: it must name the tenant and the destination of its event, as
      -- EventAccepted does. The first claim follows that fact.
      AND incoming.destination_id::text = CASE
          WHEN incoming.sequence = 2 AND predecessor.tenant_id = incoming.tenant_id
          THEN predecessor.payload #>> '{EventAccepted,destinationId}'
          WHEN incoming.sequence > 2 THEN (
              SELECT payload #>> '{EventAccepted,destinationId}'
              FROM events
              WHERE aggregate_type = 'WebhookEvent'
                AND aggregate_id = incoming.event_id::text
                AND sequence = 1
                AND tenant_id = incoming.tenant_id
          )
      END
      -- The worker's settings are of the job's stage. What follows them is short.
      AND NOT EXISTS (
          SELECT
          FROM events AS later
          WHERE later.aggregate_type = 'Destination'
            AND later.aggregate_id = incoming.destination_id::text
            AND later.sequence > incoming.destination_version
            AND later.event_type = ANY ($11::text[])
      )
      -- The worker's settings are those of a tenant that is not suspended. What follows them is short.
      AND (
          SELECT later.event_type
          FROM events AS later
          WHERE later.aggregate_type = 'Tenant'
            AND later.aggregate_id = incoming.tenant_id::text
            AND later.sequence > incoming.tenant_version
            AND later.event_type IN ('TenantSuspended', 'TenantResumed')
          ORDER BY later.sequence DESC
          LIMIT 1
      ) IS DISTINCT FROM 'TenantSuspended'
    ORDER BY event_id, sequence, number
),
appended AS (
    INSERT INTO events
        (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
    SELECT
        'WebhookEvent', event_id::text, sequence, 'DeliveryStarted', $10::text, fact::json, metadata::json
    FROM candidates
    ORDER BY event_id
    ON CONFLICT DO NOTHING
    RETURNING aggregate_id::uuid AS event_id, sequence
),
-- IS TRUE makes it a lookup in a hash table: PostgreSQL would compare every row of the one with every row of the other,
-- because it expects one row.
winners AS (
    SELECT number
    FROM candidates
    WHERE ((event_id, sequence) IN (SELECT * FROM appended)) IS TRUE
)
SELECT
    current AS "current!",
    number IN (SELECT number FROM winners) AS "won!"
FROM incoming
ORDER BY number
