-- The dispatcher's lanes, as of its checkpoint: stage, limit and failures of each destination.
CREATE TABLE dispatch_lanes (
    destination_id       uuid        PRIMARY KEY,
    tenant_id            uuid        NOT NULL,
    concurrency_limit    integer     NOT NULL,
    -- 0 active, 1 inactive, 2 suspended, 3 probing
    stage                smallint    NOT NULL,
    -- Version of the destination's stream at which it entered its stage or got its limit.
    stage_version        bigint      NOT NULL,
    -- Time at which a suspended destination is probed.
    next_check_at        timestamptz,
    -- Consecutive failed attempts, over all events of the destination.
    consecutive_failures integer     NOT NULL,
    -- Whether an attempt succeeded, or failed, since the stage was entered.
    succeeded_in_stage   boolean     NOT NULL,
    failed_in_stage      boolean     NOT NULL,
    -- Failed probes since the breaker was last closed.
    failed_probes        integer     NOT NULL,
    -- Version of the destination's stream up to which the row is folded.
    version              bigint      NOT NULL,

    CONSTRAINT dispatch_lanes_known_stage CHECK (stage BETWEEN 0 AND 3)
);
