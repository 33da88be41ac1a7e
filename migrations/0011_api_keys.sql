-- API keys, active and revoked.
CREATE TABLE api_keys (
    id         uuid        PRIMARY KEY,
    tenant_id  uuid        NOT NULL,
    name       text        NOT NULL,
    -- SHA-256 of the key, prefix included, in lower-case hex.
    key_hash   text        NOT NULL,
    created_at timestamptz NOT NULL,
    revoked_at timestamptz,
    -- Version of the key's stream that the row shows.
    version    bigint      NOT NULL
);

CREATE UNIQUE INDEX api_keys_one_a_hash ON api_keys (key_hash);
CREATE INDEX api_keys_of_a_tenant ON api_keys (tenant_id, id);

SELECT scope_to_tenant('api_keys');
