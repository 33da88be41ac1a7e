-- Signed heads of the trees in `evidence_trees`, all that were ever signed. A row is written once.
CREATE TABLE evidence_checkpoints (
    log_id    uuid        NOT NULL,
    tenant_id uuid,
    size      bigint      NOT NULL,
    -- Signed note: C2SP tlog-checkpoint.
    note      text        NOT NULL,
    signed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Entry of the installation's log that commits to this note; NULL for its own checkpoints.
    installation_log_id uuid,
    installation_index  bigint,

    PRIMARY KEY (log_id, size),
    CONSTRAINT evidence_checkpoints_of_tenants_are_logged CHECK (
        (tenant_id IS NULL) = (installation_log_id IS NULL)
        AND (installation_log_id IS NULL) = (installation_index IS NULL)
    )
);

SELECT scope_to_tenant('evidence_checkpoints');
