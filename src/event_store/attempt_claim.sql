-- Appends DeliveryStarted for each claim that is valid. Returns the outcome of each claim, in their order, unless all were
-- granted: 0 granted, 1 lost, 2 the settings have changed. If another transaction appends to one of the streams meanwhile,
-- the statement fails with a unique violation and appends nothing.
--
-- `lock_epoch` makes a new leader wait until all claims of the previous epoch are in the log, and makes later claims
-- see the new epoch: the new leader counts every attempt that is in flight. `destinations` and `tenants` belong to
-- their projections; they are queried here because the settings must be checked in the statement that appends.
--
-- Claims are sorted by their events, so that two batches with common events wait for one another instead of deadlocking.
-- A batch has few settings ($7 to $11); each is judged once, and claims name theirs by number. Look-ups are subqueries by
-- a key, and lists of types are parameters: a planner that knew them could choose an index of few types, which is short
-- when the plan is made. Several `unnest` in a SELECT list advance together and, unlike those in FROM, store no rows.
--
-- No payloads are returned: while a client does not read them, the transaction would stay open and hold back every
-- reader of the log.
WITH settings AS MATERIALIZED (
    SELECT ARRAY(
        SELECT CASE
            -- The worker may have read newer settings from the log than the read models have.
            WHEN (SELECT version FROM destinations WHERE id = used.destination_id) > used.destination_version
                OR (SELECT version FROM tenants WHERE id = used.tenant_id) > used.tenant_version
            THEN 2
            WHEN used.epoch = (SELECT lock_epoch('dispatcher'))
                -- The worker's settings are of the job's stage. What follows them is short.
                AND NOT EXISTS (
                    SELECT
                    FROM events AS later
                    WHERE later.aggregate_type = 'Destination'
                      AND later.aggregate_id = used.destination_id::text
                      AND later.sequence > used.destination_version
                      AND later.event_type = ANY ($12::text[])
                )
                -- The worker's settings are those of a tenant that is not suspended. What follows them is short.
                AND (
                    SELECT later.event_type
                    FROM events AS later
                    WHERE later.aggregate_type = 'Tenant'
                      AND later.aggregate_id = used.tenant_id::text
                      AND later.sequence > used.tenant_version
                      AND later.event_type = ANY ($13::text[])
                    ORDER BY later.sequence DESC
                    LIMIT 1
                ) IS DISTINCT FROM 'TenantSuspended'
            THEN 0
            ELSE 1
        END::smallint
        FROM (
            SELECT
                unnest($7::bigint[]), unnest($8::uuid[]), unnest($9::bigint[]), unnest($10::uuid[]),
                unnest($11::bigint[])
        ) AS used (epoch, destination_id, destination_version, tenant_id, tenant_version)
    ) AS outcomes
),
judged AS MATERIALIZED (
    SELECT ARRAY(
        SELECT CASE
            WHEN settings.outcomes[claim.settings] <> 0 THEN settings.outcomes[claim.settings]
            WHEN (
                SELECT
                    -- The claim follows the last fact.
                    last.sequence = claim.sequence - 1
                        -- Anyone who can write to the queue can make a job: it must name the tenant and the destination of
                        -- its event, as EventAccepted does. The first claim follows that fact.
                        AND ($8::uuid[])[claim.settings]::text = CASE
                            WHEN last.sequence > 1 THEN (
                                SELECT payload #>> '{EventAccepted,destinationId}'
                                FROM events
                                WHERE aggregate_type = 'WebhookEvent'
                                  AND aggregate_id = claim.event_id
                                  AND sequence = 1
                                  AND tenant_id = ($10::uuid[])[claim.settings]
                            )
                            WHEN last.tenant_id = ($10::uuid[])[claim.settings]
                            THEN last.payload #>> '{EventAccepted,destinationId}'
                        END
                FROM events AS last
                WHERE last.aggregate_type = 'WebhookEvent'
                  AND last.aggregate_id = claim.event_id
                ORDER BY last.sequence DESC
                LIMIT 1
            ) THEN 0
            ELSE 1
        END::smallint
        FROM (
            SELECT unnest($1::text[]), unnest($2::bigint[]), unnest($3::int[])
        ) AS claim (event_id, sequence, settings)
    ) AS outcomes
    FROM settings
),
appended AS (
    INSERT INTO events
        (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
    SELECT 'WebhookEvent', event_id, sequence, 'DeliveryStarted', $6::text, fact::json, metadata::json
    FROM (
        SELECT
            unnest($1::text[]), unnest($2::bigint[]), unnest($4::text[]), unnest($5::text[]),
            unnest((SELECT outcomes FROM judged))
    ) AS claim (event_id, sequence, fact, metadata, outcome)
    WHERE outcome = 0
)
SELECT outcomes AS "outcomes!"
FROM judged
WHERE 0 <> ANY (outcomes)
