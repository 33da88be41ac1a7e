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

-- Returns whether a fact is of the delivery of a single webhook. There are thousands of these for each other fact. This is
-- the only declaration in SQL; a test compares it with the one in Rust. The function is inlined, so that a query with it
-- uses the partial indexes with it.
CREATE FUNCTION fact_is_of_delivery(event_type text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN event_type IN ('EventAccepted', 'DeliveryStarted', 'DeliveryAttempted', 'RetryScheduled', 'CriticalFailure');

-- The audit trail of a tenant: all other facts, and those of one type or of one actor. The time is in the indexes so that
-- facts outside a time range are passed over without reading their rows.
CREATE INDEX events_of_the_trail ON events (tenant_id, transaction_id, position, recorded_at)
WHERE NOT fact_is_of_delivery(event_type);
CREATE INDEX events_of_the_trail_by_type ON events (tenant_id, event_type, transaction_id, position, recorded_at)
WHERE NOT fact_is_of_delivery(event_type);
CREATE INDEX events_of_the_trail_by_actor
ON events (tenant_id, (metadata ->> 'actor'), transaction_id, position, recorded_at)
WHERE NOT fact_is_of_delivery(event_type);

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

-- Returns the positions of the facts in the trail of the scope's tenant that `of_actor` caused, between two positions and
-- two times; type and times may be NULL. Under row-level security a condition on `metadata` cannot use an index, because
-- the operators of json are not leakproof. So this function runs as the owner of the table, and names the tenant of the
-- scope itself.
CREATE FUNCTION trail_of_actor(
    of_actor text, of_type text, after_transaction_id xid8, after_position bigint, before_transaction_id xid8,
    before_position bigint, from_time timestamptz, to_time timestamptz, newest_first boolean, rows_max bigint
)
RETURNS TABLE (transaction_id xid8, "position" bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 50
SET search_path = public, pg_temp
SET plan_cache_mode = force_custom_plan
AS $$
#variable_conflict use_column
DECLARE scope uuid := current_setting('hooksentry.tenant_id')::uuid;
BEGIN
    IF newest_first THEN
        RETURN QUERY
        SELECT transaction_id, "position" FROM events
        WHERE tenant_id = scope AND metadata ->> 'actor' = of_actor AND NOT fact_is_of_delivery(event_type)
          AND (transaction_id, "position") > (after_transaction_id, after_position)
          AND (transaction_id, "position") < (before_transaction_id, before_position)
          AND recorded_at >= coalesce(from_time, '-infinity') AND recorded_at <= coalesce(to_time, 'infinity')
          AND (of_type IS NULL OR event_type = of_type)
        ORDER BY transaction_id DESC, "position" DESC LIMIT rows_max;
    ELSE
        RETURN QUERY
        SELECT transaction_id, "position" FROM events
        WHERE tenant_id = scope AND metadata ->> 'actor' = of_actor AND NOT fact_is_of_delivery(event_type)
          AND (transaction_id, "position") > (after_transaction_id, after_position)
          AND (transaction_id, "position") < (before_transaction_id, before_position)
          AND recorded_at >= coalesce(from_time, '-infinity') AND recorded_at <= coalesce(to_time, 'infinity')
          AND (of_type IS NULL OR event_type = of_type)
        ORDER BY transaction_id, "position" LIMIT rows_max;
    END IF;
END
$$;

-- Returns a transaction id with which the log begins to have facts that were recorded at `moment` or later, or a lower one.
-- The order of the log is that of transactions, whose facts may be recorded in another order: by minutes at most, unless
-- the clock of the database was set.
CREATE FUNCTION log_transaction_at(moment timestamptz) RETURNS xid8
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    low bigint;
    high bigint;
    middle bigint;
    recorded timestamptz;
BEGIN
    -- Qualified: an unqualified name in ORDER BY would be the converted column, which has no index.
    SELECT fact.transaction_id::text::bigint INTO low
    FROM events AS fact ORDER BY fact.transaction_id, fact.position LIMIT 1;
    SELECT fact.transaction_id::text::bigint + 1 INTO high
    FROM events AS fact ORDER BY fact.transaction_id DESC, fact.position DESC LIMIT 1;
    WHILE low < high LOOP
        middle := low + (high - low) / 2;
        SELECT recorded_at INTO recorded FROM events
        WHERE transaction_id >= middle::text::xid8
        ORDER BY transaction_id, position LIMIT 1;
        IF recorded < moment - interval '10 minutes' THEN
            low := middle + 1;
        ELSE
            high := middle;
        END IF;
    END LOOP;
    RETURN coalesce(low, 0)::text::xid8;
END
$$;

REVOKE ALL ON FUNCTION trail_of_actor FROM PUBLIC;
GRANT EXECUTE ON FUNCTION trail_of_actor TO hooksentry_tenant;
