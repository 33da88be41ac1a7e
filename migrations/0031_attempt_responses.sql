-- What is kept of the responses to attempts: some headers, and the start of the body. Receivers write it, so it may contain
-- anything. It is not in the log, which has a commitment to it, so that it can be erased with the payload of its event.
CREATE TABLE attempt_responses (
    event_id  uuid    NOT NULL,
    attempt   integer NOT NULL CHECK (attempt >= 1),
    tenant_id uuid    NOT NULL,
    -- Exactly the text that the commitment in DeliveryAttempted is for, so it is json and not jsonb.
    response  json    NOT NULL,
    -- Key of the commitment.
    salt      bytea   NOT NULL CHECK (octet_length(salt) = 32),

    PRIMARY KEY (event_id, attempt)
);

SELECT scope_to_tenant('attempt_responses');
