-- name: add
-- In the batch's transaction: what is committed will be said, whatever happens to the one who committed it.
INSERT INTO outbox (messages) VALUES ($1) RETURNING id;

-- name: said
DELETE FROM outbox WHERE id = ANY($1::bigint[]);

-- name: stale
-- What a crash left unsaid. Replicas that sweep at the same time take different rows.
SELECT id, messages FROM outbox WHERE created_at < now() - make_interval(secs => $1)
ORDER BY id LIMIT 20 FOR UPDATE SKIP LOCKED;
