-- New generations of read models that are being built beside the live ones, in the schema `rebuilding`.
-- What has taken its place is not among them any more.
CREATE TABLE rebuilds (
    -- The projection's name.
    projection     text        PRIMARY KEY,
    tables         text[]      NOT NULL,
    -- What its rows are good for: the definition of the tables, and the program that folds. A generation
    -- that was begun with another is not gone on with.
    made_by        text        NOT NULL,
    -- Everything up to and including this place of the log is in its rows.
    transaction_id xid8        NOT NULL DEFAULT '0',
    position       bigint      NOT NULL DEFAULT 0,
    begun_at       timestamptz NOT NULL DEFAULT now()
);
