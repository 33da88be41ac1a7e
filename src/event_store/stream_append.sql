-- Appends the facts of each append whose stream has the expected version, with the responses that are kept with them. Returns
-- for each append whether it was recorded, in their order, unless all were. With an epoch of the dispatcher nothing is
-- recorded if another process leads. If another transaction appends to one of the streams meanwhile, the statement fails
-- with a unique violation and appends nothing.
--
-- Facts are sorted by their streams, so that two batches with common streams wait for one another instead of deadlocking.
-- Several `unnest` in a SELECT list advance together and, unlike those in FROM, store no rows.
WITH judged AS MATERIALIZED (
    SELECT ARRAY(
        SELECT
            -- The next leader waits for this lock before it reads what its predecessors have appended.
            ($4::bigint IS NULL OR $4 = (SELECT lock_epoch('dispatcher')))
                AND append.expected_version = coalesce(
                    (
                        SELECT last.sequence
                        FROM events AS last
                        WHERE last.aggregate_type = append.aggregate_type
                          AND last.aggregate_id = append.aggregate_id
                        ORDER BY last.sequence DESC
                        LIMIT 1
                    ),
                    0
                )
        FROM (
            SELECT unnest($1::text[]), unnest($2::text[]), unnest($3::bigint[])
        ) AS append (aggregate_type, aggregate_id, expected_version)
    ) AS recorded
),
appended AS (
    INSERT INTO events
        (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
    SELECT aggregate_type, aggregate_id, sequence, event_type, event_version, payload::json, metadata::json
    FROM (
        SELECT
            unnest($5::int[]), unnest($6::text[]), unnest($7::text[]), unnest($8::bigint[]), unnest($9::text[]),
            unnest($10::text[]), unnest($11::text[]), unnest($12::text[])
    ) AS fact (append, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
    WHERE (SELECT recorded FROM judged)[append]
),
responses AS (
    INSERT INTO attempt_responses (event_id, attempt, tenant_id, response, salt)
    SELECT event_id, attempt, tenant_id, response::json, salt
    FROM (
        SELECT
            unnest($13::int[]), unnest($14::uuid[]), unnest($15::int[]), unnest($16::uuid[]), unnest($17::text[]),
            unnest($18::bytea[])
    ) AS kept (append, event_id, attempt, tenant_id, response, salt)
    WHERE (SELECT recorded FROM judged)[append]
)
SELECT recorded AS "recorded!"
FROM judged
WHERE NOT true = ALL (recorded)
