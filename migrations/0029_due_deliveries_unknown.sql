-- How many of the last attempts have an unknown outcome, one after the other. The default is a constant, so no
-- row is touched; rows from before count from none.
ALTER TABLE due_deliveries ADD COLUMN IF NOT EXISTS unknown_in_a_row integer NOT NULL DEFAULT 0;
