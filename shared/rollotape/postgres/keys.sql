-- name: store
INSERT INTO api_keys (id, name, scope, hash, expires_at) VALUES ($1, $2, $3, $4, $5)

-- name: listed
SELECT id, name, scope, created_at, expires_at, revoked_at,
       revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) AS valid
FROM api_keys ORDER BY created_at, id

-- name: revoke
-- The first time counts; no row: there is no such key.
UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1 RETURNING name

-- name: find
-- What has ended is not found.
SELECT id, name, scope, hash, expires_at FROM api_keys
WHERE id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
