DROP TABLE audit_log;
ALTER TABLE api_keys DROP COLUMN rotated_from, DROP COLUMN rate, DROP COLUMN owner;
