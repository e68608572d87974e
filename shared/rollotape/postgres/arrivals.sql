-- name: partitions
SELECT partitions FROM installation

-- name: newest_unsaid
-- What is said after this is none of ours: an outbox that others keep busy would never be empty.
SELECT max(id) FROM outbox

-- name: unsaid
SELECT EXISTS (SELECT FROM outbox WHERE id <= $1)

-- name: events
-- The primary key of vsa_events begins with the symbol.
SELECT count(*) FROM vsa_events WHERE symbol = ANY($1::text[])

-- name: sample
-- Some symbols by chance, to check a part of a large installation.
SELECT symbol FROM symbol_state ORDER BY random() LIMIT $1
