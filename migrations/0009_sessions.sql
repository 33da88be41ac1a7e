-- Logins. An access token is valid while its session is open and its user is active.
CREATE TABLE sessions (
    id                 uuid        PRIMARY KEY,
    tenant_id          uuid        NOT NULL,
    user_id            uuid        NOT NULL,
    -- SHA-256 of the newest refresh token, in lower-case hex.
    refresh_token_hash text        NOT NULL,
    -- When that token expires.
    expires_at         timestamptz NOT NULL,
    opened_at          timestamptz NOT NULL,
    closed_at          timestamptz,
    -- Version of the session's stream that the row shows.
    version            bigint      NOT NULL
);

CREATE INDEX sessions_by_refresh_token ON sessions (refresh_token_hash);
CREATE INDEX sessions_open_of_a_user ON sessions (user_id) WHERE closed_at IS NULL;
