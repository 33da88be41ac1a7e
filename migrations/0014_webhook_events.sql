-- Webhook events and where their deliveries stand.
CREATE TABLE webhook_events (
    id              uuid        PRIMARY KEY,
    tenant_id       uuid        NOT NULL,
    destination_id  uuid        NOT NULL,
    -- NULL: it came through the destination's own token.
    sender_id       uuid,
    accepted_at     timestamptz NOT NULL,
    -- Not before this time; NULL where nothing waits. While the destination's breaker is open, the
    -- attempt waits for it too: readers take the later time.
    next_attempt_at timestamptz,
    delivered_at    timestamptz,
    -- Version of the event's stream that the row shows.
    version         bigint      NOT NULL,
    -- Failed attempts since it was accepted or replayed.
    failed_attempts integer     NOT NULL,
    -- Number of the last attempt that was started, over the event's whole life.
    attempts        integer     NOT NULL,
    -- 0 Pending, 1 Processing, 2 Succeeded, 3 Failed, 4 WaitingRetry, 5 CriticalFailure, 6 Cancelled.
    status          smallint    NOT NULL,
    idempotency_key text,

    CONSTRAINT webhook_events_status_is_known CHECK (status BETWEEN 0 AND 6)
);

-- Each list is read along one of these, newest first or oldest first.
CREATE INDEX webhook_events_of_a_tenant ON webhook_events (tenant_id, accepted_at, id);
CREATE INDEX webhook_events_of_a_destination ON webhook_events (tenant_id, destination_id, accepted_at, id);
CREATE INDEX webhook_events_by_status ON webhook_events (tenant_id, status, accepted_at, id);
-- What waits: counted, and cancelled by a purge. It begins with the tenant, so that counting need not look at
-- the rows.
CREATE INDEX webhook_events_waiting ON webhook_events (tenant_id, destination_id, id) WHERE status IN (0, 4);
