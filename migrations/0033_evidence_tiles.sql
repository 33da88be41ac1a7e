-- Full tiles of the trees in `evidence_trees`: 256 hashes each. A row is written once.
CREATE TABLE evidence_tiles (
    log_id    uuid     NOT NULL,
    tenant_id uuid,
    level     smallint NOT NULL,
    index     bigint   NOT NULL,
    hashes    bytea    NOT NULL,
    -- Level 0 of a tenant only. The positions of the facts in the event log, each as the difference from the one before, in
    -- two variable-length numbers (`evidence_log::positions`). So the facts of an entry and the entry of a fact are found
    -- without a row for each fact.
    positions bytea,
    -- The first of these positions.
    first_transaction_id xid8,
    first_position       bigint,

    PRIMARY KEY (log_id, level, index),
    CONSTRAINT evidence_tiles_are_full CHECK (octet_length(hashes) = 8192)
);

CREATE INDEX evidence_tiles_in_log_order ON evidence_tiles (tenant_id, first_transaction_id, first_position)
WHERE first_position IS NOT NULL;

-- Hashes are random bytes: compressing them is in vain.
ALTER TABLE evidence_tiles ALTER COLUMN hashes SET STORAGE EXTERNAL;

SELECT scope_to_tenant('evidence_tiles');
