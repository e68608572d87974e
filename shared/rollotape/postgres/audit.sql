-- name: store
INSERT INTO audit_log (at, request_id, key_id, owner, address, method, path, status)
SELECT * FROM unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::smallint[])

-- name: cut
-- So many at once that nobody waits for it; gateways that do it together do not wait for each other.
DELETE FROM audit_log WHERE id IN (
    SELECT id FROM audit_log WHERE at < $1 ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED)

-- name: read
-- The newest first. What is null is not asked for.
SELECT at, request_id, key_id, owner, address, method, path, status FROM audit_log
WHERE at >= $1 AND at < $2
  AND ($3::text IS NULL OR owner = $3) AND ($4::text IS NULL OR key_id = $4)
  AND ($5::text IS NULL OR method = $5) AND ($6::text IS NULL OR starts_with(path, $6))
  AND ($7::text IS NULL OR request_id = $7) AND (NOT $8::boolean OR status >= 400 OR status = 0)
ORDER BY at DESC, id DESC LIMIT $9
