INSERT INTO log_eras (era, system_identifier) VALUES (1, 7441234567890123456);
