-- Leader of each role that one process has at a time. The fencing epoch is how often leadership was acquired.
-- Jobs carry the epoch of the dispatcher that released them, and an attempt starts only in the current epoch: the
-- jobs of a replaced dispatcher are void, so the concurrency limit holds across a change of leader.
CREATE TABLE leaderships (
    role   text        PRIMARY KEY,
    epoch  bigint      NOT NULL DEFAULT 0,
    holder text,
    since  timestamptz NOT NULL DEFAULT now()
);

INSERT INTO leaderships (role) VALUES ('dispatcher');
