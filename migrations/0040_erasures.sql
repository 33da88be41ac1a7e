-- Progress of the erasures of many payloads. Their requests and results are facts; this is what is between them, and moves
-- in the transaction that erases. It is not a read model.
CREATE TABLE erasures (
    id                uuid        PRIMARY KEY,
    tenant_id         uuid        NOT NULL,
    -- Last event, by time of acceptance and id, that was examined; NULL: none was.
    after_accepted_at timestamptz,
    after_id          uuid,
    erased            bigint      NOT NULL DEFAULT 0,
    -- Payloads that a legal hold on their destination has kept.
    kept              bigint      NOT NULL DEFAULT 0,
    is_completed      boolean     NOT NULL DEFAULT false,
    -- Time of the last step. Erasures take turns.
    stepped_at        timestamptz,

    CONSTRAINT erasures_name_the_last_event CHECK (num_nonnulls(after_accepted_at, after_id) IN (0, 2))
);

CREATE INDEX erasures_in_progress ON erasures (stepped_at NULLS FIRST, id) WHERE NOT is_completed;

SELECT scope_to_tenant('erasures');
