-- Tenants: their retry policy, and the secrets that sign their webhooks.
CREATE TABLE tenants (
    id                           uuid        PRIMARY KEY,
    name                         text        NOT NULL,
    max_attempts                 bigint      NOT NULL,
    -- Seconds.
    circuit_breaker_timer        bigint      NOT NULL,
    -- Signing secret, encrypted with a data key.
    secret_data_key              uuid        NOT NULL,
    secret_ciphertext            text        NOT NULL,
    secret_fingerprint           text        NOT NULL,
    -- Previous secret, which signs too until `previous_signs_until`; NULL if there is none.
    previous_secret_data_key     uuid,
    previous_secret_ciphertext   text,
    previous_secret_fingerprint  text,
    previous_signs_until         timestamptz,
    created_at                   timestamptz NOT NULL,
    updated_at                   timestamptz NOT NULL,
    -- Version of the tenant's stream that the row shows.
    version                      bigint      NOT NULL,
    -- Days after acceptance for which a tenant keeps final events; NULL: without limit.
    payload_retention_days       bigint,
    event_retention_days         bigint,
    -- Since when the operator has suspended the tenant, and why; NULL: it is not suspended.
    suspended_at                 timestamptz,
    suspension_reason            text,

    CONSTRAINT tenants_previous_secret_is_whole CHECK (
        num_nonnulls(
            previous_secret_data_key, previous_secret_ciphertext,
            previous_secret_fingerprint, previous_signs_until
        ) IN (0, 4)
    ),
    CONSTRAINT tenants_suspension_is_whole CHECK ((suspended_at IS NULL) = (suspension_reason IS NULL))
);

SELECT scope_to_tenant('tenants', 'id');
