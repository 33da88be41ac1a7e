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
