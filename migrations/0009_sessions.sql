-- Logins. An access token is valid while its session is open and its user is active and has the credentials that the
-- session was opened with.
CREATE TABLE sessions (
    id                 uuid        PRIMARY KEY,
    tenant_id          uuid        NOT NULL,
    user_id            uuid        NOT NULL,
    -- Version of the user's credentials that the login was checked against.
    credentials_version bigint     NOT NULL,
    -- When the newest refresh token expires.
    expires_at         timestamptz NOT NULL,
    opened_at          timestamptz NOT NULL,
    closed_at          timestamptz,
    -- Version of the session's stream that the row shows.
    version            bigint      NOT NULL
);
