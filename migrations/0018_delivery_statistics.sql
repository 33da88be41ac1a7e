-- Numbers of accepted, delivered and failed events by hour and by day. A row is a bucket, so a query reads as many
-- rows as it returns points, independent of the number of events.
CREATE TABLE delivery_statistics (
    tenant_id         uuid        NOT NULL,
    -- Nil UUID: all destinations of the tenant together.
    destination_id    uuid        NOT NULL,
    -- Hours in the bucket. Days are in UTC.
    hours             smallint    NOT NULL,
    starts_at         timestamptz NOT NULL,

    accepted          bigint      NOT NULL,
    succeeded         bigint      NOT NULL,
    failed_attempts   bigint      NOT NULL,
    critical_failures bigint      NOT NULL,
    cancelled         bigint      NOT NULL,
    replayed          bigint      NOT NULL,
    -- Number of deliveries in each class of duration, without the empty classes at the end.
    times_to_deliver  integer[]   NOT NULL,

    -- Position of the last fact that was counted. Facts arrive in the order of the log, so a fact at or before
    -- it is a repetition.
    transaction_id    xid8        NOT NULL,
    position          bigint      NOT NULL,

    PRIMARY KEY (tenant_id, destination_id, hours, starts_at),
    CONSTRAINT delivery_statistics_by_hour_or_day CHECK (hours IN (1, 24))
)
-- The row of the current hour is updated often. Free space on its page keeps the updates out of the index.
WITH (fillfactor = 70);

SELECT scope_to_tenant('delivery_statistics');
