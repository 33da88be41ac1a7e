-- Webhook events and the state of their deliveries.

-- Sets of statuses. This is their only declaration in SQL; a test compares it with `EventStatus` in Rust. The
-- functions are inlined, so that a query with them uses the partial indexes with them. Queries name them with the
-- schema, because sessions that rebuild read models do not have it in their search_path.
CREATE FUNCTION event_status_is_waiting(status smallint) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN status IN (0, 4);

CREATE FUNCTION event_status_is_final(status smallint) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN status IN (2, 5, 6);

CREATE TABLE webhook_events (
    id              uuid        PRIMARY KEY,
    tenant_id       uuid        NOT NULL,
    destination_id  uuid        NOT NULL,
    -- NULL: it was sent with the destination's own token.
    sender_id       uuid,
    accepted_at     timestamptz NOT NULL,
    -- Earliest time of the next attempt; NULL if the event does not wait. While the breaker of the destination
    -- is open the attempt also waits for that: queries return the later time.
    next_attempt_at timestamptz,
    delivered_at    timestamptz,
    -- Version of the event's stream that the row shows.
    version         bigint      NOT NULL,
    -- Failed attempts since it was accepted or replayed.
    failed_attempts integer     NOT NULL,
    -- Number of the last attempt that was started since the event was accepted.
    attempts        integer     NOT NULL,
    -- 0 Pending, 1 Processing, 2 Succeeded, 3 Failed, 4 WaitingRetry, 5 CriticalFailure, 6 Cancelled.
    status          smallint    NOT NULL,
    -- Outcome of the last attempt that ended, as `Outcome` in Rust numbers them, and the status of its response; NULL if
    -- none has ended, or without a response.
    last_outcome     smallint,
    last_http_status smallint,

    CONSTRAINT webhook_events_status_is_known CHECK (status BETWEEN 0 AND 6)
);

-- Lists are read along one of these, newest first or oldest first.
CREATE INDEX webhook_events_of_a_tenant ON webhook_events (tenant_id, accepted_at, id);
CREATE INDEX webhook_events_of_a_destination ON webhook_events (tenant_id, destination_id, accepted_at, id);
CREATE INDEX webhook_events_by_status ON webhook_events (tenant_id, status, accepted_at, id);
-- Waiting events are cancelled by a purge, and unfinished ones examined by the completeness check.
CREATE INDEX webhook_events_unfinished ON webhook_events (tenant_id, destination_id, id)
WHERE NOT event_status_is_final(status);
-- Lists sorted by a field that only some events have.
CREATE INDEX webhook_events_by_delivery ON webhook_events (tenant_id, delivered_at, accepted_at, id)
WHERE delivered_at IS NOT NULL;
CREATE INDEX webhook_events_by_failures ON webhook_events (tenant_id, failed_attempts, accepted_at, id)
WHERE failed_attempts > 0;
-- Lists of what few events have. Successful attempts are not in the indexes: almost every event has one. With the
-- destination in them, those of one destination are counted without reading rows.
CREATE INDEX webhook_events_of_a_sender ON webhook_events (tenant_id, sender_id, accepted_at, id)
WHERE sender_id IS NOT NULL;
CREATE INDEX webhook_events_by_last_failure ON webhook_events (tenant_id, last_outcome, accepted_at, id)
INCLUDE (destination_id)
WHERE last_outcome > 0;
CREATE INDEX webhook_events_by_last_refusal ON webhook_events (tenant_id, last_http_status, accepted_at, id)
INCLUDE (destination_id)
WHERE last_http_status < 200 OR last_http_status > 299;

SELECT scope_to_tenant('webhook_events');
