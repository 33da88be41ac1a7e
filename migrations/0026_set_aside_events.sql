-- Events that the dispatcher has set aside, because it cannot read one of their facts. It is written with the
-- dispatcher's checkpoint.
CREATE TABLE set_aside_events (
    event_id uuid        PRIMARY KEY,
    -- Why the fact cannot be read.
    reason   text        NOT NULL,
    since    timestamptz NOT NULL
);
