-- Time stamps of an authority over checkpoints of the installation's log. A row is written once.
CREATE TABLE checkpoint_timestamps (
    log_id      uuid        NOT NULL,
    size        bigint      NOT NULL,
    -- TimeStampResp of RFC 3161, over the note without cosignatures.
    answer      bytea       NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),

    PRIMARY KEY (log_id, size),
    FOREIGN KEY (log_id, size) REFERENCES evidence_checkpoints (log_id, size)
);

CREATE INDEX checkpoint_timestamps_by_time ON checkpoint_timestamps (received_at);
