-- Revocations: of each stream, the last fact that took a right away. The statement that appends the fact writes the row,
-- so a revocation is in force when the append is committed, however far behind the read models are: a row of a read
-- model that shows an earlier version of its stream admits no request.
CREATE TABLE revocations (
    -- Session, user, API key, destination, sender or tenant.
    stream_id uuid   PRIMARY KEY,
    -- Version of the stream with the fact.
    version   bigint NOT NULL
);
