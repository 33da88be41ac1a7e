-- Progress of each reader of the log: its rows contain everything up to and including this position.
CREATE TABLE checkpoints (
    -- Stored name, which must never change.
    reader         text        PRIMARY KEY,
    transaction_id xid8        NOT NULL DEFAULT '0',
    position       bigint      NOT NULL DEFAULT 0,
    -- Fencing epoch, raised by each new owner. A write carries the epoch of its owner, so that an owner that
    -- was paused and replaced writes nothing when it resumes.
    epoch          bigint      NOT NULL DEFAULT 0,
    -- Reason why the reader stopped at a fact that it could not apply; NULL while it follows the log.
    halted_because text,
    moved_at       timestamptz NOT NULL DEFAULT now(),
    -- Until this time the checkpoint must not move, so that a rebuild can replace the reader's rows; NULL: it may
    -- move. The hold expires by itself if its holder dies.
    held_until     timestamptz
);

-- Progress of the completeness check, which compares the log with what follows from it. One row.
CREATE TABLE completeness_check (
    is_only_row    boolean     PRIMARY KEY DEFAULT true CHECK (is_only_row),
    -- The last fact of the log that was examined.
    transaction_id xid8        NOT NULL DEFAULT '0',
    position       bigint      NOT NULL DEFAULT 0,
    -- The fact up to which the log is examined next, once it is old enough: the last one when it was chosen; NULL: none
    -- is chosen.
    bound_transaction_id xid8,
    bound_position bigint,
    -- The last unfinished event that was examined, in the order of tenant, destination and id.
    tenant_id      uuid        NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    destination_id uuid        NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    event_id       uuid        NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    -- When some process last began a step.
    stepped_at     timestamptz NOT NULL DEFAULT '-infinity',
    -- When all facts and all unfinished events had been examined; NULL: never yet.
    completed_at   timestamptz
);

INSERT INTO completeness_check DEFAULT VALUES;

-- Accepted events that have neither ended nor will be delivered, or that the read model lacks.
CREATE TABLE unaccounted_events (
    event_id  uuid        PRIMARY KEY,
    tenant_id uuid        NOT NULL,
    found_at  timestamptz NOT NULL DEFAULT now()
);
