-- name: listed
-- One page of an owner's saved scans by name.
SELECT id, name, filters, version, created_at, changed_at FROM saved_scans
WHERE owner = $1 AND ($2::text IS NULL OR name > $2) ORDER BY name LIMIT $3

-- name: find
SELECT id, name, filters, version, created_at, changed_at FROM saved_scans WHERE owner = $1 AND id = $2

-- name: count
SELECT count(*) FROM saved_scans WHERE owner = $1

-- name: add
-- No row: the owner has one of this name.
INSERT INTO saved_scans (owner, id, name, filters, watchlist_id)
VALUES ($1, $2, $3, $4::jsonb, ($4::jsonb ->> 'watchlist_id')::uuid)
ON CONFLICT ON CONSTRAINT saved_scans_name DO NOTHING
RETURNING id, name, filters, version, created_at, changed_at

-- name: is_named
-- Whether another one of the owner has this name.
SELECT EXISTS (SELECT FROM saved_scans WHERE owner = $1 AND id <> $2 AND name = $3)

-- name: replace
-- What is as it was keeps its version.
UPDATE saved_scans SET name = $3, filters = $4::jsonb, watchlist_id = ($4::jsonb ->> 'watchlist_id')::uuid,
    version = version + ((name, filters) IS DISTINCT FROM ($3, $4::jsonb))::integer,
    changed_at = CASE WHEN (name, filters) IS DISTINCT FROM ($3, $4::jsonb) THEN now() ELSE changed_at END
WHERE owner = $1 AND id = $2
RETURNING id, name, filters, version, created_at, changed_at

-- name: remove
DELETE FROM saved_scans WHERE owner = $1 AND id = $2

-- name: look
-- Its filters, unless they are of the version known already ($3).
SELECT version, CASE WHEN version IS DISTINCT FROM $3 THEN filters END AS content FROM saved_scans
WHERE owner = $1 AND id = $2
