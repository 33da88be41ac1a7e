-- Delivery attempts: inserted when they start, completed when they end.
CREATE TABLE delivery_attempts (
    event_id            uuid        NOT NULL,
    -- From 1, counted since the event was accepted.
    attempt             integer     NOT NULL,
    tenant_id           uuid        NOT NULL,
    destination_id      uuid        NOT NULL,
    worker              text        NOT NULL,
    -- Versions of the streams whose settings and secret were in force.
    destination_version bigint      NOT NULL,
    tenant_version      bigint      NOT NULL,
    started_at          timestamptz NOT NULL,
    -- This and the columns below are NULL while the attempt is in progress.
    finished_at         timestamptz,
    outcome             text,
    http_status         integer,
    duration_ms         bigint,
    address             text,
    detail              text,

    PRIMARY KEY (event_id, attempt),
    CONSTRAINT delivery_attempts_finish_whole CHECK (
        num_nonnulls(finished_at, outcome, duration_ms) IN (0, 3)
    )
);

SELECT scope_to_tenant('delivery_attempts');
