-- The bytes of webhook events, beside the log: they may expire or be erased by law while the record of
-- what happened, which holds their SHA-256, stays whole.
CREATE TABLE payloads (
    event_id  uuid  PRIMARY KEY,
    tenant_id uuid  NOT NULL,
    -- Exactly as it is delivered.
    delivered bytea NOT NULL,
    -- Exactly as it was received, where a sender's mapping reshaped it; NULL where both are the same.
    received  bytea
);
