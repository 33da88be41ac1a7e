-- Facts of legal holds, by tenant. An erasure reads them from the log, and a tenant has few.
CREATE INDEX events_of_legal_holds ON events (tenant_id, aggregate_id, sequence DESC)
WHERE aggregate_type = 'LegalHold';
