-- name: ranks
-- What decides whether another event about a stored trade wins. Ids of paper trades cannot be claimed.
SELECT id, revision, hash FROM signals WHERE id = ANY($1::uuid[]) AND origin = 'external';

-- name: signals
SELECT * FROM signals WHERE id = ANY($1::uuid[]) AND origin = 'external' ORDER BY id;
