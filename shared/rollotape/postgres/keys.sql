-- name: store
INSERT INTO api_keys (id, name, scope, hash, expires_at, owner, rate) VALUES ($1, $2, $3, $4, $5, $6, $7)

-- name: listed
SELECT id, name, scope, coalesce(owner, id) AS owner, rate, created_at, expires_at, revoked_at, rotated_from,
       revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) AS valid
FROM api_keys ORDER BY created_at, id

-- name: revoke
-- The first time counts; no row: there is no such key.
UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1 RETURNING name

-- name: lock_valid
-- Two who replace the same key at once come one after the other. No row: there is no such key, or no more.
SELECT id FROM api_keys
WHERE id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) FOR UPDATE

-- name: successor
SELECT id FROM api_keys WHERE rotated_from = $1

-- name: replace
-- Everything that the old key may and has; unless said otherwise ($4), it lives as long as the old one was to.
INSERT INTO api_keys (id, name, scope, hash, expires_at, owner, rate, rotated_from)
SELECT $2, name, scope, $3, coalesce($4, now() + (expires_at - created_at)), coalesce(owner, id), rate, id
FROM api_keys WHERE id = $1
RETURNING name, scope, owner, expires_at

-- name: end_at
-- Never later than it was to end.
UPDATE api_keys SET expires_at = least(expires_at, now() + $2) WHERE id = $1 RETURNING expires_at

-- name: find
-- What has ended is not found.
SELECT id, name, scope, coalesce(owner, id) AS owner, rate, hash, expires_at FROM api_keys
WHERE id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
