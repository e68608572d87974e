-- name: listed
-- One page of an owner's watchlists by name.
SELECT id, name, symbols, version, created_at, changed_at FROM watchlists
WHERE owner = $1 AND ($2::text IS NULL OR name > $2) ORDER BY name LIMIT $3

-- name: find
SELECT id, name, symbols, version, created_at, changed_at FROM watchlists WHERE owner = $1 AND id = $2

-- name: count
SELECT count(*) FROM watchlists WHERE owner = $1

-- name: add
-- No row: the owner has one of this name.
INSERT INTO watchlists (owner, id, name, symbols) VALUES ($1, $2, $3, $4)
ON CONFLICT ON CONSTRAINT watchlists_name DO NOTHING
RETURNING id, name, symbols, version, created_at, changed_at

-- name: is_named
-- Whether another one of the owner has this name.
SELECT EXISTS (SELECT FROM watchlists WHERE owner = $1 AND id <> $2 AND name = $3)

-- name: replace
-- What is as it was keeps its version.
UPDATE watchlists SET name = $3, symbols = $4,
    version = version + ((name, symbols) IS DISTINCT FROM ($3, $4))::integer,
    changed_at = CASE WHEN (name, symbols) IS DISTINCT FROM ($3, $4) THEN now() ELSE changed_at END
WHERE owner = $1 AND id = $2
RETURNING id, name, symbols, version, created_at, changed_at

-- name: remove
DELETE FROM watchlists WHERE owner = $1 AND id = $2

-- name: users
-- Names of the saved scans that need a watchlist.
SELECT name FROM saved_scans WHERE watchlist_id = $1 ORDER BY name

-- name: look
-- Its symbols, unless they are of the version known already ($3).
SELECT version, CASE WHEN version IS DISTINCT FROM $3 THEN symbols END AS content FROM watchlists
WHERE owner = $1 AND id = $2

-- name: unknown
-- Symbols of which nobody has said anything, in their order.
SELECT w.symbol FROM unnest($1::text[]) WITH ORDINALITY AS w(symbol, place)
WHERE NOT EXISTS (SELECT FROM symbol_state k WHERE k.symbol = w.symbol)
  AND NOT EXISTS (SELECT FROM sectors s WHERE s.symbol = w.symbol)
ORDER BY w.place
