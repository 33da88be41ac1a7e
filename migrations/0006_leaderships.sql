-- Leader of each role that one process has at a time. The fencing epoch is how often leadership was acquired.
-- Jobs carry the epoch of the dispatcher that released them, and an attempt starts only in the current epoch: the
-- jobs of a replaced dispatcher are void, so the concurrency limit holds across a change of leader.
CREATE TABLE leaderships (
    role   text        PRIMARY KEY,
    epoch  bigint      NOT NULL DEFAULT 0,
    holder text,
    -- Process of the server that runs the leader's session, which holds the leader's lock.
    backend integer,
    since  timestamptz NOT NULL DEFAULT now()
);

INSERT INTO leaderships (role) VALUES ('dispatcher');

-- Returns the epoch of a role, and prevents a new one until the transaction ends. Every claim of an attempt calls it.
-- The lock is advisory, because claims that lock the row at the same time would each create a multixact.
CREATE FUNCTION lock_epoch(role_name text) RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $$
DECLARE current_epoch bigint;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtext('hooksentry.epoch'), hashtext(role_name));
    -- A volatile function takes a new snapshot for each statement, so this one sees the epoch of a leader for which the
    -- lock has waited.
    SELECT epoch INTO current_epoch FROM leaderships WHERE role = role_name;
    RETURN current_epoch;
END
$$;

-- Begins the next epoch of a role, after all transactions that have locked the current one.
CREATE FUNCTION begin_epoch(role_name text, holder_name text) RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $$
DECLARE next_epoch bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('hooksentry.epoch'), hashtext(role_name));
    INSERT INTO leaderships AS leadership (role, epoch, holder, backend, since)
    VALUES (role_name, 1, holder_name, pg_backend_pid(), now())
    ON CONFLICT (role) DO UPDATE SET
        epoch = leadership.epoch + 1,
        holder = excluded.holder,
        backend = excluded.backend,
        since = excluded.since
    RETURNING epoch INTO next_epoch;
    RETURN next_epoch;
END
$$;

-- Returns whether the session of the leader of the current epoch is connected to this server. A server that has taken over
-- by a failover knows the epoch, but not the session: what the leader remembers of the log may be lost.
CREATE FUNCTION leader_is_connected(role_name text) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT
        FROM leaderships
        JOIN pg_locks ON pg_locks.pid = leaderships.backend
        WHERE leaderships.role = role_name
          AND pg_locks.locktype = 'advisory'
          AND pg_locks.granted
          AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND pg_locks.classid::bigint = hashtext('hooksentry.leadership')::bigint & 4294967295
          AND pg_locks.objid::bigint = hashtext(role_name)::bigint & 4294967295
    )
$$;
