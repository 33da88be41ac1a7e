-- Appends EventAccepted and stores the payload for each event whose credentials are valid, and for some of them the
-- DeliveryStarted of their first attempt. Returns the positions of EventAccepted in the order of the events, and the outcome
-- of each event unless all were appended: 0 appended, 1 the event exists already, 2 its credentials are not valid; and for
-- which settings attempts were started unless for all. It is looked up whether an event exists only where the caller asks for it: if
-- another one exists, the statement fails with a unique violation and appends nothing.
--
-- Events are sorted by their ids, so that two batches with common ids wait for one another instead of deadlocking.
-- `ingest_routes`, `api_keys` and `tenants` belong to their projections; they are queried here because they must be checked
-- in the statement that appends. They may be behind the log, `revocations` never is.
--
-- A batch has few credentials ($14 to $17); each is judged once, and events name theirs by number. Look-ups are scalar
-- subqueries by one key, because no statistics turn them into joins or into scans of another index: the plan is kept
-- while the tables grow. Several `unnest` in a SELECT list advance together and, unlike those in FROM, store no rows.
--
-- Facts ($4 to $8) name their event by number, and those of attempts their settings ($19 to $23) as well. An attempt starts on
-- the conditions of attempt_claim.sql, except those that hold for an event that is new and has valid credentials.
WITH credentials AS MATERIALIZED (
    SELECT ARRAY(
        SELECT coalesce(
            (
                SELECT
                    route.tenant_id = used.tenant_id
                        AND route.version = used.route_version
                        AND route.receives
                        AND route.owner_sequence
                            >= coalesce((SELECT version FROM revocations WHERE stream_id = route.owner_id), 0)
                FROM ingest_routes AS route
                WHERE route.token_hash = used.token_hash
            ) AND (
                SELECT
                    key.tenant_id = used.tenant_id
                        AND key.revoked_at IS NULL
                        AND key.version >= coalesce((SELECT version FROM revocations WHERE stream_id = key.id), 0)
                FROM api_keys AS key
                WHERE key.key_hash = used.key_hash
            ) AND (
                SELECT
                    suspended_at IS NOT NULL
                        OR version < coalesce((SELECT version FROM revocations WHERE stream_id = tenants.id), 0)
                FROM tenants
                WHERE tenants.id = used.tenant_id
            ) IS NOT TRUE,
            false
        )
        FROM (
            SELECT unnest($14::uuid[]), unnest($15::text[]), unnest($16::text[]), unnest($17::bigint[])
        ) AS used (tenant_id, key_hash, token_hash, route_version)
    ) AS are_valid
),
judged AS MATERIALIZED (
    SELECT ARRAY(
        SELECT CASE
            WHEN NOT (SELECT are_valid FROM credentials)[event.credentials] THEN 2
            WHEN event.may_exist AND (
                SELECT true
                FROM events
                WHERE aggregate_type = 'WebhookEvent' AND aggregate_id = event.id AND sequence = 1
            ) THEN 1
            ELSE 0
        END::smallint
        FROM (
            SELECT unnest($1::text[]), unnest($2::int[]), unnest($3::bool[])
        ) AS event (id, credentials, may_exist)
    ) AS outcomes
),
settings AS MATERIALIZED (
    SELECT ARRAY(
        SELECT
            (SELECT version FROM destinations WHERE id = used.destination_id) > used.destination_version IS NOT TRUE
                AND (SELECT version FROM tenants WHERE id = used.tenant_id) > used.tenant_version IS NOT TRUE
                AND used.epoch = (SELECT lock_epoch('dispatcher'))
                AND NOT EXISTS (
                    SELECT
                    FROM events AS later
                    WHERE later.aggregate_type = 'Destination'
                      AND later.aggregate_id = used.destination_id::text
                      AND later.sequence > used.destination_version
                      AND later.event_type = ANY ($25::text[])
                )
        FROM (
            SELECT unnest($19::bigint[]), unnest($20::uuid[]), unnest($21::bigint[]), unnest($22::uuid[]), unnest($23::bigint[])
        ) AS used (epoch, destination_id, destination_version, tenant_id, tenant_version)
    ) AS are_valid
),
appended AS (
    INSERT INTO events
        (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
    SELECT
        'WebhookEvent', id, CASE WHEN settings = 0 THEN 1 ELSE 2 END,
        CASE WHEN settings = 0 THEN 'EventAccepted' ELSE 'DeliveryStarted' END,
        CASE WHEN settings = 0 THEN $18::text ELSE $24::text END, fact::json, metadata::json
    FROM (
        SELECT unnest($4::text[]), unnest($5::int[]), unnest($6::int[]), unnest($7::text[]), unnest($8::text[])
    ) AS new (id, event, settings, fact, metadata)
    WHERE (SELECT outcomes FROM judged)[event] = 0
      AND (settings = 0 OR (SELECT are_valid FROM settings)[settings])
    RETURNING transaction_id, position, sequence
),
stored AS (
    INSERT INTO payloads (event_id, tenant_id, delivered, received, hops, salt, idempotency_key)
    SELECT id::uuid, ($14::uuid[])[credentials], delivered, received, hops, salt, idempotency_key
    FROM (
        SELECT
            unnest($1::text[]), unnest($2::int[]), unnest($9::bytea[]), unnest($10::bytea[]),
            unnest($11::smallint[]), unnest($12::bytea[]), unnest($13::text[]), unnest((SELECT outcomes FROM judged))
    ) AS event (id, credentials, delivered, received, hops, salt, idempotency_key, outcome)
    WHERE outcome = 0
)
SELECT
    (SELECT outcomes FROM judged WHERE 0 <> ANY (outcomes)) AS "outcomes",
    (SELECT are_valid FROM settings WHERE NOT true = ALL (are_valid)) AS "valid_settings",
    (array_agg(transaction_id))[1] AS "transaction_id: TransactionId",
    array_agg(position) FILTER (WHERE sequence = 1) AS "positions"
FROM appended
