-- Portal links, in force, expired and revoked.
CREATE TABLE portal_links (
    id             uuid        PRIMARY KEY,
    tenant_id      uuid        NOT NULL,
    destination_id uuid        NOT NULL,
    -- 0 Read, 1 Operate.
    access         smallint    NOT NULL,
    label          text        NOT NULL,
    -- SHA-256 of the token, prefix included, in lower-case hex.
    token_hash     text        NOT NULL,
    expires_at     timestamptz NOT NULL,
    created_at     timestamptz NOT NULL,
    revoked_at     timestamptz,
    -- Version of the link's stream that the row shows.
    version        bigint      NOT NULL,

    CONSTRAINT portal_links_access_is_known CHECK (access BETWEEN 0 AND 1)
);

CREATE UNIQUE INDEX portal_links_one_a_token ON portal_links (token_hash);
CREATE INDEX portal_links_of_a_tenant ON portal_links (tenant_id, id);

SELECT scope_to_tenant('portal_links');
