-- no-transaction
CREATE INDEX CONCURRENTLY webhook_events_by_failures
ON webhook_events (tenant_id, failed_attempts, accepted_at, id)
WHERE failed_attempts > 0;
