-- Streams of which the log lacks a fact although it has later ones, as a failover that loses the last commits may leave
-- behind. Such a stream cannot be folded beyond the gap. Read models show it as of the last fact before the gap and skip
-- the later facts, so that it does not stop the read models of all tenants.
CREATE TABLE quarantined_streams (
    aggregate_type   text        NOT NULL,
    aggregate_id     text        NOT NULL,
    -- NULL: the stream belongs to no tenant.
    tenant_id        uuid,
    -- First sequence that is missing.
    missing_sequence bigint      NOT NULL,
    found_at         timestamptz NOT NULL DEFAULT clock_timestamp(),

    PRIMARY KEY (aggregate_type, aggregate_id)
);
