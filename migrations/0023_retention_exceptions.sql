-- Events that were not final when the floor of payloads passed them, which are examined again until they are, and events
-- that a legal hold keeps.
CREATE TABLE retention_exceptions (
    tenant_id uuid NOT NULL,
    event_id  uuid NOT NULL,
    -- Destination whose legal hold keeps the event: it is not examined until the hold is lifted. NULL: no hold does.
    held_by   uuid,

    PRIMARY KEY (tenant_id, event_id)
);

CREATE INDEX retention_exceptions_to_examine ON retention_exceptions (tenant_id, event_id) WHERE held_by IS NULL;
CREATE INDEX retention_exceptions_by_hold ON retention_exceptions (tenant_id, held_by) WHERE held_by IS NOT NULL;
