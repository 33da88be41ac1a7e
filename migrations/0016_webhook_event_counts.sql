-- Number of webhook events by status and by the hour and the day in which they were accepted, from which a list
-- derives its length and the begin of a page without skipping rows. Part of the read model `webhook_events`.
CREATE TABLE webhook_event_counts (
    tenant_id        uuid        NOT NULL,
    -- Nil UUID: all destinations of the tenant together.
    destination_id   uuid        NOT NULL,
    -- Hours in the bucket. Days are in UTC.
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
-- The rows of the current hour are updated often. Free space on their page keeps the updates out of the index.
WITH (fillfactor = 70);

SELECT scope_to_tenant('webhook_event_counts');

-- A recount in progress: the projector counts existing webhook events step by step, in the order of their ids, and
-- lists count row by row meanwhile. Empty unless counts are missing; then `webhook_event_counts` is emptied and the
-- nil UUID inserted here.
CREATE TABLE webhook_event_recounts (
    -- Events up to this id are counted.
    reached   uuid    NOT NULL,
    -- The only column that tenants may read. It allows one row at most.
    under_way boolean PRIMARY KEY DEFAULT true CHECK (under_way)
);

GRANT SELECT (under_way) ON webhook_event_recounts TO hooksentry_tenant;
