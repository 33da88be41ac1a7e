-- Eras of the log. PostgreSQL's transaction ids order the log only within one database cluster: restored from a dump into
-- another one, whose counter may be lower, the log would continue before its own end. So a restore begins the next era,
-- and the era comes first in the order.
CREATE TABLE log_eras (
    era               smallint    PRIMARY KEY,
    -- The cluster that writes the era's facts; NULL: not readable by the user who began the era.
    system_identifier bigint,
    began_at          timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Returns the id of a transaction in the log: the era in the upper 16 bits, PostgreSQL's id in the lower 48, which no
-- cluster uses up. So columns and indexes that hold a position of the log need no era of their own.
CREATE FUNCTION log_transaction_id(era smallint, transaction_id xid8) RETURNS xid8
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$ SELECT ((era::bigint << 48) + transaction_id::text::bigint)::text::xid8 $$;

-- Returns the identifier of this cluster; NULL if the user may not read it.
CREATE FUNCTION this_cluster() RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (SELECT system_identifier FROM pg_control_system());
EXCEPTION WHEN insufficient_privilege THEN
    RETURN NULL;
END
$$;

-- In the first era, ids in the log are those of PostgreSQL, as the default of `events.transaction_id` has them.
INSERT INTO log_eras (era, system_identifier) VALUES (0, this_cluster());
