-- Payloads of webhook events. They are not in the log, because retention or a legal request may erase them while
-- the log, which has commitments to them, stays complete.
CREATE TABLE payloads (
    event_id  uuid  PRIMARY KEY,
    tenant_id uuid  NOT NULL,
    -- Exactly the bytes that are delivered.
    delivered bytea NOT NULL,
    -- Exactly the bytes that were received, if a sender's mapping transformed them; NULL if both are equal.
    received  bytea,
    -- Key of the commitments to both in the log. It goes with them, and then the commitments say nothing. NULL where the
    -- fact is so old that it has a digest without salt.
    salt      bytea CHECK (octet_length(salt) = 32),
    -- Installations of HookSentry that the webhook passed through before this one. It is needed for as long as the
    -- payload, and no longer.
    hops      smallint NOT NULL DEFAULT 0 CHECK (hops >= 0)
);

SELECT scope_to_tenant('payloads');
