-- Email addresses of users. They are personal, so they are not in the log, which has commitments to them. The append of a
-- fact that sets one stores it. Former ones are kept until the user's personal data is erased.
CREATE TABLE user_emails (
    user_id   uuid   NOT NULL,
    -- Version of the user's stream with the fact that set it.
    version   bigint NOT NULL CHECK (version >= 1),
    tenant_id uuid   NOT NULL,
    -- Exactly the text that the commitment is for. Reservations in the log make current ones unique.
    email     text   NOT NULL,
    -- Key of the commitment.
    salt      bytea  NOT NULL CHECK (octet_length(salt) = 32),

    PRIMARY KEY (user_id, version)
);

CREATE INDEX user_emails_by_email ON user_emails (email);

SELECT scope_to_tenant('user_emails');
