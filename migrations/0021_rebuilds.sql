-- Rebuilds in progress: read models that are folded from the log again in the schema `rebuilding`. A row is deleted
-- when its tables have replaced the live ones.
CREATE TABLE rebuilds (
    -- Name of the projection.
    projection     text        PRIMARY KEY,
    tables         text[]      NOT NULL,
    -- Version of the program and definition of the tables. A rebuild that was begun with others is not
    -- continued.
    made_by        text        NOT NULL,
    -- The rows contain everything up to and including this position of the log.
    transaction_id xid8        NOT NULL DEFAULT '0',
    position       bigint      NOT NULL DEFAULT 0,
    begun_at       timestamptz NOT NULL DEFAULT now()
);
