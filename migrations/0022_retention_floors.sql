-- Progress of retention for each tenant. This is not a read model: it is not folded from the log. A rebuilt read
-- model uses it to omit the same rows as the live one.
CREATE TABLE retention_floors (
    tenant_id      uuid        PRIMARY KEY,
    -- Last event, by time of acceptance and id, whose payload was examined. The payloads of all final events up to
    -- it are erased, except those in `retention_exceptions`.
    payloads_until timestamptz,
    payloads_last  uuid,
    -- Final events that were accepted before this time are removed from the read models.
    events_before  timestamptz,
    -- Bytes of all payloads that were erased.
    erased_bytes   bigint      NOT NULL DEFAULT 0,

    CONSTRAINT retention_floors_name_the_last_event CHECK (num_nonnulls(payloads_until, payloads_last) IN (0, 2))
);
