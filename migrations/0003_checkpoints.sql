-- How far each reader of the log has come: everything up to and including this place is in its rows.
CREATE TABLE checkpoints (
    -- The reader's name is data: it is never renamed.
    reader         text        PRIMARY KEY,
    transaction_id xid8        NOT NULL DEFAULT '0',
    position       bigint      NOT NULL DEFAULT 0,
    -- Raised by each new owner. A write carries the epoch its owner knows, so that an owner that was
    -- paused and has been replaced changes nothing when it wakes.
    epoch          bigint      NOT NULL DEFAULT 0,
    -- Why the reader stopped, when a fact could not be applied; NULL while it follows the log.
    halted_because text,
    moved_at       timestamptz NOT NULL DEFAULT now()
);
