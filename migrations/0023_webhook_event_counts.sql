-- How many webhook events there are, by status and by the hour and the day in which they were accepted, so
-- that a list knows its length, and where in it a page begins, without passing over rows. Belongs to
-- `webhook_events` and is written with it.
CREATE TABLE webhook_event_counts (
    tenant_id        uuid        NOT NULL,
    -- The nil UUID: all destinations of the tenant together.
    destination_id   uuid        NOT NULL,
    -- How many hours the bucket spans. Days are those of UTC.
    hours            smallint    NOT NULL,
    starts_at        timestamptz NOT NULL,

    pending          bigint      NOT NULL,
    processing       bigint      NOT NULL,
    succeeded        bigint      NOT NULL,
    failed           bigint      NOT NULL,
    waiting_retry    bigint      NOT NULL,
    critical_failure bigint      NOT NULL,
    cancelled        bigint      NOT NULL,

    PRIMARY KEY (tenant_id, destination_id, hours, starts_at),
    CONSTRAINT webhook_event_counts_by_hour_or_day CHECK (hours IN (1, 24)),
    CONSTRAINT webhook_event_counts_are_counts CHECK (
        least(pending, processing, succeeded, failed, waiting_retry, critical_failure, cancelled) >= 0
    )
)
-- The rows of the current hour are rewritten again and again: room on their page spares the index.
WITH (fillfactor = 70);

SELECT scope_to_tenant('webhook_event_counts');

-- Webhook events that were there before their counts are counted by the projector bit by bit, in the order
-- of their ids. A row while that is under way: what has an id up to here is counted. None: everything is.
CREATE TABLE webhook_event_recounts (
    reached   uuid    NOT NULL,
    -- What everybody may know of it. There is one row at most.
    under_way boolean PRIMARY KEY DEFAULT true CHECK (under_way)
);

INSERT INTO webhook_event_recounts (reached)
SELECT '00000000-0000-0000-0000-000000000000'
WHERE EXISTS (SELECT FROM webhook_events);

-- Of no tenant, and all that a tenant sees of it: whether lists may trust the counts.
GRANT SELECT (under_way) ON webhook_event_recounts TO hooksentry_tenant;
