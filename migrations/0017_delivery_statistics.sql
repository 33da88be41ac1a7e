-- What was accepted, delivered and given up, counted by hour and by day. A row is a bucket, so an answer
-- reads as many rows as it has points, whatever the number of events.
CREATE TABLE delivery_statistics (
    tenant_id         uuid        NOT NULL,
    -- The nil UUID: all destinations of the tenant together.
    destination_id    uuid        NOT NULL,
    -- How many hours the bucket spans. Days are those of UTC.
    hours             smallint    NOT NULL,
    starts_at         timestamptz NOT NULL,

    accepted          bigint      NOT NULL,
    succeeded         bigint      NOT NULL,
    failed_attempts   bigint      NOT NULL,
    critical_failures bigint      NOT NULL,
    cancelled         bigint      NOT NULL,
    replayed          bigint      NOT NULL,
    -- Deliveries by the class of the time they took; classes beyond the last that has any are left out.
    times_to_deliver  integer[]   NOT NULL,

    -- The last fact that was counted here. Facts come in the log's order, so one at or before this place
    -- is a repetition.
    transaction_id    xid8        NOT NULL,
    position          bigint      NOT NULL,

    PRIMARY KEY (tenant_id, destination_id, hours, starts_at),
    CONSTRAINT delivery_statistics_by_hour_or_day CHECK (hours IN (1, 24))
)
-- The row of the current hour is rewritten again and again: room on its page spares the index.
WITH (fillfactor = 70);

SELECT scope_to_tenant('delivery_statistics');
