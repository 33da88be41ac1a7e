-- Destinations as callers see them and as deliveries need them.
CREATE TABLE destinations (
    id                     uuid        PRIMARY KEY,
    tenant_id              uuid        NOT NULL,
    url                    text        NOT NULL,
    -- Maximum of concurrent requests.
    concurrency_limit      bigint      NOT NULL,
    -- 0 ApiKey, 1 BearerToken, 2 JwtBearer, 3 BasicAuth; NULL: requests are not authenticated.
    auth_type              smallint,
    -- Credentials encrypted with a data key.
    credentials_data_key   uuid,
    credentials_ciphertext text,
    -- 0 active, 1 inactive, 2 suspended (the breaker is open), 3 probing (it is half open).
    stage                  smallint    NOT NULL,
    -- Version of the destination's stream at which it entered that stage or got its limit.
    stage_version          bigint      NOT NULL,
    -- Status in the API: a destination that is being probed is active.
    status                 smallint    NOT NULL GENERATED ALWAYS AS (CASE stage WHEN 3 THEN 0 ELSE stage END) STORED,
    -- Time at which the open breaker allows a probe; NULL while it is not open.
    next_check_at          timestamptz,
    created_at             timestamptz NOT NULL,
    updated_at             timestamptz NOT NULL,
    -- Version of the destination's stream that the row shows.
    version                bigint      NOT NULL,

    CONSTRAINT destinations_stage_is_known CHECK (stage BETWEEN 0 AND 3),
    CONSTRAINT destinations_auth_type_is_known CHECK (auth_type BETWEEN 0 AND 3),
    CONSTRAINT destinations_auth_is_whole CHECK (
        num_nonnulls(auth_type, credentials_data_key, credentials_ciphertext) IN (0, 3)
    ),
    CONSTRAINT destinations_wait_while_suspended CHECK ((stage = 2) = (next_check_at IS NOT NULL))
);

CREATE INDEX destinations_of_a_tenant ON destinations (tenant_id, id);

SELECT scope_to_tenant('destinations');
