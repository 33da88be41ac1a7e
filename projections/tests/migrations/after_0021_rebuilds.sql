INSERT INTO rebuilds (projection, tables, made_by, transaction_id, position)
VALUES ('users', '{users}', 'program 0.1.0', '600', 5);
