-- Progress of bulk actions. Their requests, pauses and ends are facts; this is what is between them, and moves in the
-- transaction that appends the facts of the events. It is not a read model.
CREATE TABLE bulk_actions (
    id                      uuid        PRIMARY KEY,
    tenant_id               uuid        NOT NULL,
    requested_at            timestamptz NOT NULL,
    -- Last event, by time of acceptance and id, that was examined; NULL: none was.
    after_accepted_at       timestamptz,
    after_id                uuid,
    -- Events that were replayed or cancelled, and those that refused it, by reason.
    done                    bigint      NOT NULL DEFAULT 0,
    not_in_critical_failure bigint      NOT NULL DEFAULT 0,
    payload_is_erased       bigint      NOT NULL DEFAULT 0,
    not_waiting             bigint      NOT NULL DEFAULT 0,
    attempt_in_progress     bigint      NOT NULL DEFAULT 0,
    -- A step is stored only if no other one was stored since it was decided.
    steps                   bigint      NOT NULL DEFAULT 0,
    -- Time before which the next step is not carried out.
    next_step_at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- 0 Running, 1 Paused, 2 Cancelled, 3 Completed.
    state                   smallint    NOT NULL DEFAULT 0,

    CONSTRAINT bulk_actions_state_is_known CHECK (state BETWEEN 0 AND 3),
    CONSTRAINT bulk_actions_name_the_last_event CHECK (num_nonnulls(after_accepted_at, after_id) IN (0, 2))
);

CREATE INDEX bulk_actions_running ON bulk_actions (next_step_at, id) WHERE state = 0;
CREATE INDEX bulk_actions_of_a_tenant ON bulk_actions (tenant_id, requested_at, id);

SELECT scope_to_tenant('bulk_actions');
