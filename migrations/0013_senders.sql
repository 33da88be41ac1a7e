-- Senders. The row of a deleted sender is kept for the events that it sent.
CREATE TABLE senders (
    id             uuid        PRIMARY KEY,
    tenant_id      uuid        NOT NULL,
    destination_id uuid        NOT NULL,
    label          text,
    -- JSON text, keys in the order given.
    mapping        text,
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL,
    deleted_at     timestamptz,
    -- Version of the sender's stream that the row shows.
    version        bigint      NOT NULL
);

CREATE INDEX senders_of_a_destination ON senders (tenant_id, destination_id, id);

SELECT scope_to_tenant('senders');
