-- Invites, pending and used.
CREATE TABLE invites (
    id               uuid        PRIMARY KEY,
    tenant_id        uuid        NOT NULL,
    -- 0 Developer, 1 Admin, 20 Viewer.
    target_role      smallint    NOT NULL,
    -- SHA-256 of the token, prefix included, in lower-case hex.
    token_hash       text        NOT NULL,
    -- Token encrypted with a data key, because the list shows it again.
    token_data_key   uuid        NOT NULL,
    token_ciphertext text        NOT NULL,
    expires_at       timestamptz NOT NULL,
    created_at       timestamptz NOT NULL,
    used_at          timestamptz,
    revoked_at       timestamptz,
    -- User who issued the invite; NULL: the fact did not record it.
    issued_by        uuid,
    -- Version of the invite's stream that the row shows.
    version          bigint      NOT NULL,

    CONSTRAINT invites_role_can_be_invited CHECK (target_role IN (0, 1, 20))
);

CREATE UNIQUE INDEX invites_one_a_token ON invites (token_hash);
CREATE INDEX invites_of_a_tenant ON invites (tenant_id, id);

SELECT scope_to_tenant('invites');
