-- name: find
-- An answer that was given within a day.
SELECT request, location, etag, body FROM idempotency_keys
WHERE owner = $1 AND key = $2 AND created_at > now() - interval '24 hours'

-- name: count
SELECT count(*) FROM idempotency_keys WHERE owner = $1 AND created_at > now() - interval '24 hours'

-- name: store
-- An answer of more than a day ago may still be there.
INSERT INTO idempotency_keys (owner, key, request, location, etag, body) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (owner, key) DO UPDATE SET request = EXCLUDED.request, location = EXCLUDED.location,
    etag = EXCLUDED.etag, body = EXCLUDED.body, created_at = EXCLUDED.created_at

-- name: cut
-- Some of those that are over; rows that another gateway is removing are left to it.
DELETE FROM idempotency_keys WHERE (owner, key) IN (
    SELECT owner, key FROM idempotency_keys WHERE created_at <= now() - interval '24 hours'
    ORDER BY created_at LIMIT $1 FOR UPDATE SKIP LOCKED)
