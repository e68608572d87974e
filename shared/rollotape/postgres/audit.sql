-- name: store
INSERT INTO audit_log (at, request_id, key_id, owner, address, method, path, status)
SELECT * FROM unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::smallint[])

-- name: cut
-- So many at once that nobody waits for it; gateways that do it together do not wait for each other.
DELETE FROM audit_log WHERE id IN (
    SELECT id FROM audit_log WHERE at < $1 ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED)
