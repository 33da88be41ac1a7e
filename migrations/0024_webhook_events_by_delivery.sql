-- no-transaction
CREATE INDEX CONCURRENTLY webhook_events_by_delivery
ON webhook_events (tenant_id, delivered_at, accepted_at, id)
WHERE delivered_at IS NOT NULL;
