-- From where people caused facts: client addresses and user agents. They are personal, so they are not in the log: the
-- metadata of a fact has the id of its origin and a commitment to it. Facts of the same client share an origin. The append of
-- the fact stores it.
CREATE TABLE fact_origins (
    id        uuid PRIMARY KEY,
    tenant_id uuid NOT NULL,
    -- Whom it is personal data of: the actor, or the user whom an unauthenticated request was about.
    user_id   uuid NOT NULL,
    -- Exactly the text that the commitment is for, so it is json and not jsonb. NULL: erased. The row stays, so that a
    -- process that still has the origin in its memory does not store it again.
    origin    json,
    -- Key of the commitment.
    salt      bytea CHECK (octet_length(salt) = 32),

    CONSTRAINT fact_origins_are_erased_with_their_salts CHECK ((origin IS NULL) = (salt IS NULL))
);

CREATE INDEX fact_origins_of_a_user ON fact_origins (user_id);

SELECT scope_to_tenant('fact_origins');
