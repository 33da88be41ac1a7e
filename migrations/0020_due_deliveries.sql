-- What the dispatcher knows, as of its checkpoint: every webhook event that is still on its way, and
-- the state of every destination's lane. The backlog waits here and not in the broker.
CREATE TABLE due_deliveries (
    event_id        uuid        PRIMARY KEY,
    tenant_id       uuid        NOT NULL,
    destination_id  uuid        NOT NULL,
    -- Not before this time.
    due_at          timestamptz NOT NULL,
    -- Version of the event's stream, which the next attempt must follow.
    stream_version  bigint      NOT NULL,
    -- Number of the last attempt that was started.
    attempts        integer     NOT NULL,
    failed_attempts integer     NOT NULL,
    -- Since when an attempt is under way; NULL while the event waits.
    started_at      timestamptz
);

CREATE INDEX due_deliveries_waiting ON due_deliveries (destination_id, due_at, event_id) WHERE started_at IS NULL;
CREATE INDEX due_deliveries_under_way ON due_deliveries (event_id) WHERE started_at IS NOT NULL;

CREATE TABLE dispatch_lanes (
    destination_id       uuid        PRIMARY KEY,
    tenant_id            uuid        NOT NULL,
    concurrency_limit    integer     NOT NULL,
    -- 0 active, 1 inactive, 2 suspended, 3 probing
    stage                smallint    NOT NULL,
    -- Version of the destination's stream at which it entered its stage.
    stage_version        bigint      NOT NULL,
    -- When a suspended destination is probed.
    next_check_at        timestamptz,
    -- Failed attempts in a row, over all events of the destination.
    consecutive_failures integer     NOT NULL,
    -- Whether an attempt succeeded, or failed, since the stage was entered.
    succeeded_in_stage   boolean     NOT NULL,
    failed_in_stage      boolean     NOT NULL,

    CONSTRAINT dispatch_lanes_known_stage CHECK (stage BETWEEN 0 AND 3)
);
