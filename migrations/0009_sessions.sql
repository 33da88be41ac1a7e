-- Logins. An access token is valid while its session is open and its user is active and has the credentials that the
-- session was opened with.
CREATE TABLE sessions (
    id                  uuid        PRIMARY KEY,
    tenant_id           uuid        NOT NULL,
    user_id             uuid        NOT NULL,
    -- Version of the user's credentials that the login was checked against.
    credentials_version bigint      NOT NULL,
    -- SHA-256 of the part that all refresh tokens have in common, and of the newest one, in lower-case hex.
    token_family_hash   text        NOT NULL,
    refresh_token_hash  text        NOT NULL,
    -- When the newest refresh token expires.
    expires_at          timestamptz NOT NULL,
    opened_at           timestamptz NOT NULL,
    closed_at           timestamptz,
    -- Version of the session's stream that the row shows.
    version             bigint      NOT NULL
);

-- With the expiry, because a session that expires is not closed.
CREATE INDEX sessions_open_of_a_user ON sessions (user_id, expires_at) WHERE closed_at IS NULL;

SELECT scope_to_tenant('sessions');
