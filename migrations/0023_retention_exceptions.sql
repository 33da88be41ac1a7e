-- Events that were not final when the floor of payloads passed them. They are examined again until they are.
CREATE TABLE retention_exceptions (
    tenant_id uuid NOT NULL,
    event_id  uuid NOT NULL,

    PRIMARY KEY (tenant_id, event_id)
);
