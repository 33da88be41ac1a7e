-- Keys that encrypt secrets in facts, each wrapped (encrypted) with a master key of the operator. Facts are
-- immutable and name the data key; retiring a master key re-wraps these rows.
CREATE TABLE data_keys (
    id              uuid        PRIMARY KEY,
    tenant_id       uuid        NOT NULL,
    -- First 16 hex characters of the SHA-256 of the master key.
    wrapping_key_id text        NOT NULL,
    -- Nonce (12 bytes), ciphertext (32 bytes), tag (16 bytes); id and tenant are authenticated with it.
    wrapped         bytea       NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT data_keys_wrapped_in_full CHECK (octet_length(wrapped) = 60)
);

CREATE UNIQUE INDEX data_keys_one_a_tenant ON data_keys (tenant_id);
