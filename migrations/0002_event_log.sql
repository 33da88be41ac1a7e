-- The event log: every change of state, append-only. The columns up to `metadata` are those of postgres-es,
-- which names them in its INSERT; the others have defaults.
CREATE TABLE events (
    aggregate_type text        NOT NULL,
    aggregate_id   text        NOT NULL,
    sequence       bigint      NOT NULL,
    event_type     text        NOT NULL,
    event_version  text        NOT NULL,
    payload        json        NOT NULL,
    metadata       json        NOT NULL,

    -- Order within a transaction.
    position       bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    -- Order between transactions. Positions are assigned before the commit, so the lower position of a
    -- slow writer may appear after a higher one was read. A reader that stays below the oldest running
    -- transaction and orders by (transaction_id, position) never skips a fact. After a restore from a dump the id
    -- contains an era: see `log_eras`.
    transaction_id xid8        NOT NULL DEFAULT pg_current_xact_id(),
    tenant_id      uuid        GENERATED ALWAYS AS ((metadata ->> 'tenantId')::uuid) STORED,
    recorded_at    timestamptz NOT NULL DEFAULT clock_timestamp(),

    CONSTRAINT events_one_fact_a_version PRIMARY KEY (aggregate_type, aggregate_id, sequence),
    CONSTRAINT events_versions_count_from_one CHECK (sequence >= 1)
);

-- Total order of the log, in which readers follow it.
CREATE INDEX events_in_log_order ON events (transaction_id, position);

-- Returns the version of each stream: the sequence of its last fact, 0 if it has none. An append checks it, because the
-- primary key admits every version that is free: after a failover that lost the last commits, a writer that survived
-- would append behind a fact that no longer exists, and a stream with a gap cannot be folded.
--
-- Streams are looked up by the primary key even while the table is so small that a scan is cheaper, because the plan is
-- kept while the table grows.
CREATE FUNCTION stream_versions(aggregate_types text[], aggregate_ids text[])
RETURNS TABLE (number bigint, version bigint)
LANGUAGE plpgsql STABLE ROWS 64
SET enable_seqscan = off
AS $$
BEGIN
    RETURN QUERY
    SELECT stream.number, coalesce(last.sequence, 0)
    FROM unnest(aggregate_types, aggregate_ids) WITH ORDINALITY AS stream (aggregate_type, aggregate_id, number)
    LEFT JOIN LATERAL (
        SELECT fact.sequence
        FROM events AS fact
        WHERE fact.aggregate_type = stream.aggregate_type
          AND fact.aggregate_id = stream.aggregate_id
        ORDER BY fact.sequence DESC
        LIMIT 1
    ) AS last ON true;
END
$$;

CREATE FUNCTION refuse_to_change_history() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the event log is append-only: % refused', TG_OP
        USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE TRIGGER events_are_append_only
BEFORE UPDATE OR DELETE OR TRUNCATE ON events
FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_change_history();

SELECT scope_to_tenant('events');
