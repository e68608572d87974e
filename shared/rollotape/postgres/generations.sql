-- name: moment
-- What every key of an answer is made of, in one row and by look-ups in indexes: asked a few times a second, once for
-- everybody. A trade may have an exit that is still to come by the clock; when it comes, answers change with no mark.
SELECT i.epoch::text AS epoch, g.generation,
       (extract(epoch FROM g.changed_at) * 1000000)::bigint AS changed_us,
       (extract(epoch FROM n.now) * 1000000)::bigint AS now_us,
       new_york_day(n.now)::text AS day,
       (SELECT (extract(epoch FROM min(s.exit_date)) * 1000000)::bigint FROM signals s
        WHERE s.status = 'CLOSED' AND s.exit_date > n.now) AS next_exit_us,
       coalesce((SELECT (extract(epoch FROM n.now - u.marked_at) * 1000000)::bigint FROM unrolled_days u
                 ORDER BY u.id LIMIT 1), 0) AS waiting_us
FROM installation i, generations g, (SELECT clock_timestamp() AS now) n
WHERE g.dataset = 'analytics'

-- name: moment_of
-- The same of another dataset. Its changes are counted by marks; one that is seen later has its mark wait until then.
SELECT i.epoch::text AS epoch, g.generation,
       (extract(epoch FROM g.changed_at) * 1000000)::bigint AS changed_us,
       (extract(epoch FROM n.now) * 1000000)::bigint AS now_us,
       new_york_day(n.now)::text AS day, NULL::bigint AS next_exit_us,
       coalesce((SELECT (extract(epoch FROM n.now - min(c.due_at)) * 1000000)::bigint FROM changed_answers c
                 WHERE c.dataset = g.dataset AND c.due_at <= n.now), 0) AS waiting_us
FROM installation i, generations g, (SELECT clock_timestamp() AS now) n
WHERE g.dataset = $1

-- name: count_up
-- Whoever sees the number sees what was marked: a mark and what it tells of came in one transaction. One counts at a time.
WITH ours AS (SELECT pg_try_advisory_xact_lock($1) AS ours),
taken AS (
    DELETE FROM changed_answers WHERE due_at <= clock_timestamp() AND (SELECT ours FROM ours) RETURNING dataset
)
UPDATE generations SET generation = generation + 1, changed_at = clock_timestamp()
WHERE dataset IN (SELECT dataset FROM taken)
RETURNING dataset

-- name: has_patterns
-- Whether there is a pattern that a trade could have been of, among the newest thousand of the window: asked only where
-- there is no trade at all, and often in vain.
-- $1-$2 instants, $3 whether it is our own, $4 phase, $5 timeframe, $6 types, $7 symbols, $8 sectors; null: any.
SELECT EXISTS (
    SELECT FROM (
        SELECT source, phase, timeframe, pattern_type, symbol FROM patterns
        WHERE detected_at >= $1 AND detected_at <= $2 AND ($7::text[] IS NULL OR symbol = ANY ($7))
        ORDER BY detected_at DESC LIMIT 1000
    ) p
    LEFT JOIN sectors x ON x.symbol = p.symbol AND x.kind = 'stock'
    WHERE ($3::boolean IS NULL OR (p.source = 'rollo') = $3)
      AND ($4::text IS NULL OR p.phase = $4)
      AND ($5::text IS NULL OR p.timeframe = $5)
      AND ($6::text[] IS NULL OR p.pattern_type = ANY ($6))
      AND ($8::text[] IS NULL OR x.sector = ANY ($8))
)
