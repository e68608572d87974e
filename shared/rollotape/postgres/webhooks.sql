-- name: listed
-- One page of an owner's webhooks by name.
SELECT id, name, content, version, created_at, changed_at, last_at, last_status, last_error, failing_since, disabled_at, dropped
FROM webhooks WHERE owner = $1 AND ($2::text IS NULL OR name > $2) ORDER BY name LIMIT $3

-- name: find
SELECT id, name, content, version, created_at, changed_at, last_at, last_status, last_error, failing_since, disabled_at, dropped
FROM webhooks WHERE owner = $1 AND id = $2

-- name: count
SELECT count(*) FROM webhooks WHERE owner = $1

-- name: add
-- No row: the owner has one of this name. The secret has 244 random bits, and leaves this once.
INSERT INTO webhooks (owner, id, name, content, secret)
VALUES ($1, $2, $3, $4::jsonb, sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())))
ON CONFLICT ON CONSTRAINT webhooks_name DO NOTHING
RETURNING id, name, content, version, created_at, changed_at, last_at, last_status, last_error, failing_since, disabled_at,
          dropped, secret

-- name: is_named
-- Whether another one of the owner has this name.
SELECT EXISTS (SELECT FROM webhooks WHERE owner = $1 AND id <> $2 AND name = $3)

-- name: replace
-- What is as it was keeps its version. One that was disabled is tried again.
UPDATE webhooks SET name = $3, content = $4::jsonb, failing_since = NULL, disabled_at = NULL,
    version = version + ((name, content) IS DISTINCT FROM ($3, $4::jsonb))::integer,
    changed_at = CASE WHEN (name, content) IS DISTINCT FROM ($3, $4::jsonb) THEN now() ELSE changed_at END
WHERE owner = $1 AND id = $2
RETURNING id, name, content, version, created_at, changed_at, last_at, last_status, last_error, failing_since, disabled_at, dropped

-- name: remove
DELETE FROM webhooks WHERE owner = $1 AND id = $2

-- name: look
-- What it is to be told of, unless that is of the version known already ($3).
SELECT version, CASE WHEN version IS DISTINCT FROM $3 THEN content END AS content FROM webhooks
WHERE owner = $1 AND id = $2

-- name: wishes
-- Those that are told, and how many facts are waiting for each.
SELECT w.id, w.owner, w.content,
       (SELECT count(*) FROM webhook_deliveries d WHERE d.webhook_id = w.id AND d.status = 'waiting') AS waiting
FROM webhooks w WHERE w.disabled_at IS NULL

-- name: queue
-- Once each, however often the entry comes. One that is being removed meanwhile is told nothing.
INSERT INTO webhook_deliveries (webhook_id, type, fact_id, fact_version, body)
SELECT f.webhook_id, f.type, f.fact_id, f.fact_version, f.body
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::bytea[]) AS f(webhook_id, type, fact_id, fact_version, body)
JOIN (SELECT id FROM webhooks WHERE id = ANY($1::uuid[]) ORDER BY id FOR KEY SHARE) w ON w.id = f.webhook_id
ON CONFLICT ON CONSTRAINT webhook_deliveries_fact DO NOTHING

-- name: count_dropped
UPDATE webhooks w SET dropped = dropped + d.facts FROM unnest($1::uuid[], $2::bigint[]) AS d(id, facts) WHERE w.id = d.id

-- name: lease
-- What is due, no more at a time than $2 of one webhook, those first that were tried least. Two who ask at once may not get
-- the same, and who dies while sending has it sent again after a while.
WITH busy AS (
    SELECT webhook_id, count(*) AS leased FROM webhook_deliveries
    WHERE status = 'waiting' AND leased_until > now() GROUP BY webhook_id
),
due AS (
    SELECT d.id, d.attempts, coalesce(b.leased, 0) AS busy,
           row_number() OVER (PARTITION BY d.webhook_id ORDER BY d.attempts, d.id) AS place
    FROM webhook_deliveries d LEFT JOIN busy b ON b.webhook_id = d.webhook_id
    WHERE d.status = 'waiting' AND d.due_at <= now() AND (d.leased_until IS NULL OR d.leased_until <= now())
),
chosen AS (
    SELECT id FROM webhook_deliveries
    WHERE id IN (SELECT id FROM due WHERE place + busy <= $2 ORDER BY attempts, id LIMIT $1)
    FOR UPDATE SKIP LOCKED
)
UPDATE webhook_deliveries d SET leased_until = now() + make_interval(secs => $3), attempts = attempts + 1
FROM chosen c, webhooks w
WHERE d.id = c.id AND w.id = d.webhook_id AND (d.leased_until IS NULL OR d.leased_until <= now())
RETURNING d.id, d.webhook_id, d.type, d.body, d.attempts, d.created_at, w.content ->> 'url' AS url, w.secret

-- name: delivered
WITH done AS (
    UPDATE webhook_deliveries SET status = 'delivered', last_status = $2, last_error = NULL, leased_until = NULL,
        finished_at = now()
    WHERE id = $1 AND status = 'waiting' RETURNING webhook_id
)
UPDATE webhooks w SET last_at = now(), last_status = $2, last_error = NULL, failing_since = NULL
FROM done WHERE w.id = done.webhook_id

-- name: not_delivered
-- Tried again after $4 seconds, or given up $5 seconds after it came.
WITH tried AS (
    UPDATE webhook_deliveries SET last_status = $2, last_error = $3, leased_until = NULL,
        due_at = now() + make_interval(secs => $4),
        status = CASE WHEN created_at < now() - make_interval(secs => $5) THEN 'failed' ELSE 'waiting' END,
        finished_at = CASE WHEN created_at < now() - make_interval(secs => $5) THEN now() END
    WHERE id = $1 AND status = 'waiting' RETURNING webhook_id
)
UPDATE webhooks w SET last_at = now(), last_status = $2, last_error = $3, failing_since = coalesce(failing_since, now())
FROM tried WHERE w.id = tried.webhook_id

-- name: disable
-- Those of which nothing was delivered for $1 seconds, with all that waits for them.
WITH disabled AS (
    UPDATE webhooks SET disabled_at = now()
    WHERE disabled_at IS NULL AND failing_since < now() - make_interval(secs => $1) RETURNING id
),
dropped AS (
    UPDATE webhook_deliveries d SET status = 'dropped', finished_at = now(), leased_until = NULL
    FROM disabled WHERE d.webhook_id = disabled.id AND d.status = 'waiting'
)
SELECT id FROM disabled

-- name: cut
DELETE FROM webhook_deliveries WHERE id IN (
    SELECT id FROM webhook_deliveries WHERE finished_at < now() - make_interval(secs => $1) ORDER BY finished_at LIMIT 5000)

-- name: standing
SELECT count(*) AS waiting, coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8 AS oldest_s,
       (SELECT count(*) FROM webhooks WHERE disabled_at IS NOT NULL) AS disabled
FROM webhook_deliveries WHERE status = 'waiting'

-- name: log
-- What became of the facts for one webhook, the newest first; of a page those before this id.
SELECT d.id, d.type, d.fact_id, d.fact_version, d.status, d.attempts, d.created_at, d.finished_at, d.last_status, d.last_error,
       CASE WHEN d.status = 'waiting' THEN d.due_at END AS due_at
FROM webhook_deliveries d JOIN webhooks w ON w.id = d.webhook_id
WHERE w.owner = $1 AND w.id = $2 AND ($3::bigint IS NULL OR d.id < $3) ORDER BY d.id DESC LIMIT $4
