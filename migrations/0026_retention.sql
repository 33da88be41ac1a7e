-- How far retention has come. This is no read model: it is not folded from the log, and a read model that
-- is built anew ends with the same rows because of it.
CREATE TABLE retention_floors (
    tenant_id      uuid        PRIMARY KEY,
    -- The last event, by its acceptance and its id, that was looked at for its payload: the payloads of all
    -- up to here that have ended are gone, but for `retention_exceptions`.
    payloads_until timestamptz,
    payloads_last  uuid,
    -- Events that were accepted before and have ended have left the read models.
    events_before  timestamptz,

    CONSTRAINT retention_floors_name_the_last_event CHECK (num_nonnulls(payloads_until, payloads_last) IN (0, 2))
);

-- Events that were still on their way when the floor of payloads passed them: looked at again until they
-- have ended.
CREATE TABLE retention_exceptions (
    tenant_id uuid NOT NULL,
    event_id  uuid NOT NULL,

    PRIMARY KEY (tenant_id, event_id)
);

-- Not granted to `hooksentry_tenant`: nobody is shown how far it has come.
