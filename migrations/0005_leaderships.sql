-- Which process leads a role of which there may be only one, and for the how-manieth time. Jobs carry
-- the epoch of the dispatcher that released them, and an attempt starts only under the current one: a
-- replaced dispatcher's jobs are void, so the concurrency limit holds across a change of leader.
CREATE TABLE leaderships (
    role   text        PRIMARY KEY,
    epoch  bigint      NOT NULL DEFAULT 0,
    holder text,
    since  timestamptz NOT NULL DEFAULT now()
);

INSERT INTO leaderships (role) VALUES ('dispatcher');
