-- Cosignatures of witnesses over checkpoints of the installation's log. Each was verified before. A row is written once.
CREATE TABLE checkpoint_cosignatures (
    log_id      uuid        NOT NULL,
    size        bigint      NOT NULL,
    -- Public key of the witness: C2SP signed-note.
    vkey        text        NOT NULL,
    -- Line of a signed note, without its line feed: C2SP tlog-cosignature.
    cosignature text        NOT NULL,
    -- By the clock of the witness, and part of what it has signed.
    cosigned_at timestamptz NOT NULL,

    PRIMARY KEY (log_id, size, vkey),
    FOREIGN KEY (log_id, size) REFERENCES evidence_checkpoints (log_id, size)
);
