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
    hops      smallint NOT NULL DEFAULT 0 CHECK (hops >= 0),
    -- NULL: none. The id of the event follows from it, so a repetition is recognised when it is erased, too.
    idempotency_key text
);

-- Lists of events sorted by the key.
CREATE INDEX payloads_by_idempotency_key ON payloads (tenant_id, idempotency_key) WHERE idempotency_key IS NOT NULL;

SELECT scope_to_tenant('payloads');
