-- Tenants that the operator has suspended, as of the dispatcher's checkpoint: nothing is released for them.
CREATE TABLE dispatch_suspended_tenants (
    tenant_id uuid PRIMARY KEY
);
