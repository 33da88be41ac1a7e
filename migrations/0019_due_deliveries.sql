-- The dispatcher's schedule, as of its checkpoint: every webhook event that is not final. The backlog waits here
-- and not in the broker.
CREATE TABLE due_deliveries (
    event_id        uuid        PRIMARY KEY,
    tenant_id       uuid        NOT NULL,
    destination_id  uuid        NOT NULL,
    -- Earliest time of the next attempt.
    due_at          timestamptz NOT NULL,
    -- Version of the event's stream, which the next attempt must follow.
    stream_version  bigint      NOT NULL,
    -- Number of the last attempt that was started.
    attempts        integer     NOT NULL,
    failed_attempts integer     NOT NULL,
    -- Start of the attempt in progress, by its worker's clock, and its time limit; NULL while the event waits.
    started_at      timestamptz,
    timeout_ms      bigint,
    -- Number of the latest attempts, without a gap, whose outcome is unknown.
    unknown_in_a_row integer    NOT NULL DEFAULT 0,

    CONSTRAINT due_deliveries_start_is_whole CHECK ((started_at IS NULL) = (timeout_ms IS NULL))
);

CREATE INDEX due_deliveries_waiting ON due_deliveries (destination_id, due_at, event_id) WHERE started_at IS NULL;
CREATE INDEX due_deliveries_started ON due_deliveries (event_id) WHERE started_at IS NOT NULL;
