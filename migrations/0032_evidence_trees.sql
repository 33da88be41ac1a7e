-- Transparency logs: one for each tenant, whose entries are the tenant's facts, and one for the installation, whose entries
-- are the signed checkpoints of the others. A row has the right edge of the log's Merkle tree; full tiles are in
-- `evidence_tiles`. The sealer writes it together with its position in the event log.
CREATE TABLE evidence_trees (
    -- Random, so that the name of the log does not identify the tenant.
    log_id      uuid     PRIMARY KEY,
    -- NULL: the installation.
    tenant_id   uuid,
    -- Era of the event log in which the tree began. After a restore each tree is continued by another one.
    era         smallint NOT NULL,
    -- The log whose last head is the first entry of this one; NULL: there is none.
    continues   uuid,
    -- Data key of the tenant, from which the salts of the entries follow; NULL for the installation.
    data_key    uuid,
    size        bigint   NOT NULL,
    -- Hashes of the partial tiles, from level 0. Their numbers follow from the size.
    edge        bytea    NOT NULL,
    -- Positions of the facts whose hashes are in the partial tile of level 0, encoded as in `evidence_tiles`.
    positions   bytea    NOT NULL,
    -- Size at the last signed checkpoint.
    sealed_size bigint   NOT NULL DEFAULT 0,
    -- Size at the last checkpoint that enough witnesses have cosigned, the last one that is shown; 0: none is shown yet.
    -- NULL: no witnesses are required, and the last signed one is shown. Always NULL for tenants.
    published_size bigint,

    CONSTRAINT evidence_trees_of_a_tenant_have_salts CHECK ((tenant_id IS NULL) = (data_key IS NULL)),
    CONSTRAINT evidence_trees_signed_in_part CHECK (0 <= sealed_size AND sealed_size <= size),
    CONSTRAINT evidence_trees_published_in_part CHECK (
        published_size IS NULL OR tenant_id IS NULL AND 0 <= published_size AND published_size <= sealed_size
    )
)
-- A row is updated often. Free space on its page keeps the updates out of the indexes.
WITH (fillfactor = 50);

CREATE UNIQUE INDEX evidence_trees_one_a_tenant_and_era ON evidence_trees (tenant_id, era) WHERE tenant_id IS NOT NULL;
CREATE UNIQUE INDEX evidence_trees_one_installation_an_era ON evidence_trees (era) WHERE tenant_id IS NULL;
CREATE UNIQUE INDEX evidence_trees_continued_once ON evidence_trees (continues) WHERE continues IS NOT NULL;

-- Hashes are random bytes: compressing them is in vain.
ALTER TABLE evidence_trees ALTER COLUMN edge SET STORAGE EXTERNAL;

SELECT scope_to_tenant('evidence_trees');
