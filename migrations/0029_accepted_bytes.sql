-- Bytes of all payloads that a tenant has sent, those that were erased included: `retention_floors.erased_bytes`.
CREATE TABLE accepted_bytes (
    tenant_id      uuid   PRIMARY KEY,
    bytes          bigint NOT NULL,

    -- Position of the last fact that was counted. Facts arrive in the order of the log, so a fact at or before it is a
    -- repetition.
    transaction_id xid8   NOT NULL,
    position       bigint NOT NULL
)
-- A row is updated often. Free space on its page keeps the updates out of the index.
WITH (fillfactor = 70);

SELECT scope_to_tenant('accepted_bytes');
