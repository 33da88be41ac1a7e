-- Destination and mapping of each ingest token: one row for each destination and one for each sender.
CREATE TABLE ingest_routes (
    -- Destination or sender that owns the token.
    owner_id             uuid     PRIMARY KEY,
    -- SHA-256 of the token, prefix included, in lower-case hex; NULL once the sender is deleted.
    token_hash           text,
    tenant_id            uuid     NOT NULL,
    destination_id       uuid     NOT NULL,
    -- NULL: the token is the destination's own.
    sender_id            uuid,
    -- The sender's mapping as JSON text, keys in the order given.
    mapping              text,
    -- The destination's stage: 0 active, 1 inactive, 2 suspended, 3 probing.
    stage                smallint NOT NULL,
    -- Whether the destination accepts new events: it is neither inactive nor suspended.
    receives             boolean  NOT NULL GENERATED ALWAYS AS (stage IN (0, 3)) STORED,
    -- Log position of the last fact that changed the route. A cached route is current while it is unchanged.
    version              bigint   NOT NULL,
    -- Versions of the two streams that the row is folded from.
    owner_sequence       bigint   NOT NULL,
    destination_sequence bigint   NOT NULL,

    CONSTRAINT ingest_routes_stage_is_known CHECK (stage BETWEEN 0 AND 3),
    CONSTRAINT ingest_routes_are_owned CHECK (owner_id = coalesce(sender_id, destination_id))
);

CREATE UNIQUE INDEX ingest_routes_one_a_token ON ingest_routes (token_hash);
CREATE INDEX ingest_routes_of_a_destination ON ingest_routes (destination_id);
