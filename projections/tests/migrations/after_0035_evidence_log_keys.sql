INSERT INTO evidence_log_keys (vkey) VALUES ('hooks.example+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW');
