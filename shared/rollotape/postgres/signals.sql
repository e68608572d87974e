-- name: states
-- What decides whether another event about a stored trade wins; it does not expire. Ids of paper trades cannot be
-- claimed.
SELECT id, symbol, false, revision, hash FROM signals WHERE id = ANY($1::uuid[]) AND origin = 'external';

-- name: signals
SELECT * FROM signals WHERE id = ANY($1::uuid[]) AND origin = 'external' ORDER BY id;
