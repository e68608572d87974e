-- name: rule_sets
SELECT DISTINCT rule_set FROM wyckoff_states;

-- name: mark_outdated
-- What was read by another rule set than $1 is read again, once.
INSERT INTO unread_bars (symbol, timeframe, first_ts, last_ts)
SELECT k.symbol, k.timeframe, b.first_ts, b.last_ts
FROM (SELECT DISTINCT symbol, timeframe FROM wyckoff_states WHERE rule_set <> $1) k
CROSS JOIN LATERAL (SELECT min(ts) AS first_ts, max(ts) AS last_ts FROM bars
                    WHERE symbol = k.symbol AND timeframe = k.timeframe) b
WHERE b.first_ts IS NOT NULL
  AND NOT EXISTS (SELECT FROM unread_bars u WHERE u.symbol = k.symbol AND u.timeframe = k.timeframe
                  AND u.first_ts <= b.first_ts AND u.last_ts >= b.last_ts);

-- name: unread
SELECT EXISTS (SELECT FROM unread_bars WHERE symbol <> ALL($1::text[]));

-- name: backlog
SELECT count(DISTINCT (symbol, timeframe)) FROM unread_bars;

-- name: lock_due
-- Some symbols with marks that nobody else works on, under the lock of those who bring bars. Nobody is waited for:
-- whoever has a symbol now will leave a mark, or takes them. Due is what has been quiet for $2 seconds, or has
-- waited for $3; bars that pour in are better read together.
SELECT s.symbol, s.version, s.nonce FROM symbol_state s
WHERE s.symbol IN (
    SELECT u.symbol FROM unread_bars u GROUP BY u.symbol
    HAVING max(u.marked_at) < clock_timestamp() - make_interval(secs => $2)
        OR min(u.marked_at) < clock_timestamp() - make_interval(secs => $3))
  AND s.symbol <> ALL($4::text[])
ORDER BY s.symbol COLLATE "C" LIMIT $1 FOR UPDATE OF s SKIP LOCKED;

-- name: take_marks
-- Under the lock and before any bar is read: all marks that there are, and no more can come.
WITH taken AS (
    DELETE FROM unread_bars WHERE symbol = ANY($1::text[]) RETURNING symbol, timeframe, first_ts, last_ts
)
SELECT symbol, timeframe, min(first_ts), max(last_ts) FROM taken
GROUP BY symbol, timeframe ORDER BY symbol COLLATE "C", timeframe;

-- name: bounds
-- From where to where each key is to be read. `since`: its last checkpoint before the first changed bar. Null ends
-- are the beginning and the end of its history; $6 bars of context, patterns from $7 bars before, $8 bars ahead.
SELECT s.since,
       (SELECT b.ts FROM bars b WHERE b.symbol = w.symbol AND b.timeframe = w.timeframe AND b.ts <= s.since
          AND b.evaluable IS NOT NULL ORDER BY b.ts DESC OFFSET $6::int - 1 LIMIT 1) AS from_ts,
       (SELECT b.ts FROM bars b WHERE b.symbol = w.symbol AND b.timeframe = w.timeframe AND b.ts <= s.since
          AND b.evaluable IS NOT NULL ORDER BY b.ts DESC OFFSET $7::int - 1 LIMIT 1) AS patterns_from,
       (SELECT b.ts FROM bars b WHERE b.symbol = w.symbol AND b.timeframe = w.timeframe AND b.ts > w.last_ts
          AND b.evaluable IS NOT NULL ORDER BY b.ts OFFSET $8::int - 1 LIMIT 1) AS until_ts,
       EXISTS (SELECT FROM wyckoff_states o WHERE o.symbol = w.symbol AND o.timeframe = w.timeframe) AS known,
       EXISTS (SELECT FROM wyckoff_states o WHERE o.symbol = w.symbol AND o.timeframe = w.timeframe
               AND o.rule_set <> $5) AS outdated
FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[]) WITH ORDINALITY
     AS w(symbol, timeframe, first_ts, last_ts, n)
CROSS JOIN LATERAL (
    SELECT (SELECT o.ts FROM wyckoff_states o WHERE o.symbol = w.symbol AND o.timeframe = w.timeframe
            AND o.rule_set = $5 AND o.ts < w.first_ts ORDER BY o.ts DESC LIMIT 1) AS since
) s
ORDER BY w.n;

-- name: bars
-- Analysed bars of each key in one value per column, in network byte order: a value per bar would cost more to hand
-- over than to find.
SELECT b.*
FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[]) WITH ORDINALITY
     AS w(symbol, timeframe, from_ts, until_ts, n)
CROSS JOIN LATERAL (
    SELECT string_agg(timestamptz_send(ts), ''::bytea ORDER BY ts) AS ts,
           string_agg(timestamptz_send(end_ts), ''::bytea ORDER BY ts) AS end_ts,
           string_agg(date_send(session_date), ''::bytea ORDER BY ts) AS session,
           string_agg(float8send(open), ''::bytea ORDER BY ts) AS open,
           string_agg(float8send(high), ''::bytea ORDER BY ts) AS high,
           string_agg(float8send(low), ''::bytea ORDER BY ts) AS low,
           string_agg(float8send(close), ''::bytea ORDER BY ts) AS close,
           string_agg(float8send(volume), ''::bytea ORDER BY ts) AS volume
    FROM bars WHERE symbol = w.symbol AND timeframe = w.timeframe AND ts BETWEEN w.from_ts AND w.until_ts
                AND evaluable IS NOT NULL
) b
ORDER BY w.n;

-- name: states
SELECT w.n, s.ts, s.state
FROM unnest($1::text[], $2::text[], $3::timestamptz[]) WITH ORDINALITY AS w(symbol, timeframe, since, n)
JOIN wyckoff_states s ON s.symbol = w.symbol AND s.timeframe = w.timeframe AND s.rule_set = $4 AND s.ts >= w.since
ORDER BY w.n, s.ts;

-- name: events
SELECT w.n, e.symbol, e.timeframe, e.rule_set, e.side, e.range_id, e.kind, e.event_ts, e.confirmed_ts, e.knowable_at,
       e.price, e.confidence, e.terms
FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[]) WITH ORDINALITY
     AS w(symbol, timeframe, since, until_ts, n)
JOIN wyckoff_events e ON e.symbol = w.symbol AND e.timeframe = w.timeframe
                     AND e.confirmed_ts > w.since AND e.confirmed_ts <= w.until_ts;

-- name: statuses
SELECT w.n, e.symbol, e.timeframe, e.rule_set, e.side, e.range_id, e.kind, e.event_ts, e.status, e.confirmed_ts,
       e.knowable_at
FROM unnest($1::text[], $2::text[], $3::timestamptz[]) WITH ORDINALITY AS w(symbol, timeframe, since, n)
JOIN wyckoff_statuses e ON e.symbol = w.symbol AND e.timeframe = w.timeframe AND e.confirmed_ts > w.since;

-- name: ranges
SELECT w.n, r.symbol, r.timeframe, r.rule_set, r.side, r.range_id, r.opened_ts, r.climax_ts, r.confirmed_ts,
       r.knowable_at, r.status, r.phase, r.phases, r.support, r.resistance, r.unit
FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[]) WITH ORDINALITY
     AS w(symbol, timeframe, since, until_ts, n)
JOIN wyckoff_ranges r ON r.symbol = w.symbol AND r.timeframe = w.timeframe
                     AND r.confirmed_ts > w.since AND r.confirmed_ts <= w.until_ts
ORDER BY w.n, r.confirmed_ts;

-- name: retract_events
-- By the index on the confirming bar; the key itself may hold a null.
DELETE FROM wyckoff_events e
USING unnest($1::text[], $2::text[], $3::timestamptz[], $4::text[], $5::text[], $6::uuid[], $7::text[],
             $8::timestamptz[]) AS w(symbol, timeframe, confirmed_ts, rule_set, side, range_id, kind, event_ts)
WHERE e.symbol = w.symbol AND e.timeframe = w.timeframe AND e.confirmed_ts = w.confirmed_ts
  AND e.rule_set = w.rule_set AND e.side = w.side AND e.kind = w.kind AND e.event_ts = w.event_ts
  AND e.range_id IS NOT DISTINCT FROM w.range_id;

-- name: retract_statuses
DELETE FROM wyckoff_statuses e
USING unnest($1::text[], $2::text[], $3::timestamptz[], $4::text[], $5::text[], $6::uuid[], $7::text[],
             $8::timestamptz[], $9::text[])
      AS w(symbol, timeframe, confirmed_ts, rule_set, side, range_id, kind, event_ts, status)
WHERE e.symbol = w.symbol AND e.timeframe = w.timeframe AND e.confirmed_ts = w.confirmed_ts
  AND e.rule_set = w.rule_set AND e.side = w.side AND e.kind = w.kind AND e.event_ts = w.event_ts
  AND e.status = w.status AND e.range_id IS NOT DISTINCT FROM w.range_id;

-- name: retract_ranges
DELETE FROM wyckoff_ranges r USING unnest($1::uuid[], $2::timestamptz[]) AS w(range_id, confirmed_ts)
WHERE r.range_id = w.range_id AND r.confirmed_ts = w.confirmed_ts;

-- name: remaining_ranges
-- How ranges stand that lost a row and got none: as they did before.
SELECT DISTINCT ON (range_id) symbol, timeframe, rule_set, side, range_id, opened_ts, climax_ts, confirmed_ts,
       knowable_at, status, phase, phases, support, resistance, unit
FROM wyckoff_ranges WHERE range_id = ANY($1::uuid[]) ORDER BY range_id, confirmed_ts DESC;

-- name: forget_states
DELETE FROM wyckoff_states s USING unnest($1::text[], $2::text[], $3::timestamptz[]) AS w(symbol, timeframe, ts)
WHERE s.symbol = w.symbol AND s.timeframe = w.timeframe AND s.rule_set = $4 AND s.ts = w.ts;

-- name: forget_outdated
DELETE FROM wyckoff_states s USING unnest($1::text[], $2::text[]) AS w(symbol, timeframe)
WHERE s.symbol = w.symbol AND s.timeframe = w.timeframe AND s.rule_set <> $3;

-- name: patterns
-- Our own, by the index on (symbol, timeframe, detected_at).
SELECT w.n, {patterns}
FROM unnest($1::text[], $2::text[], $3::timestamptz[]) WITH ORDINALITY AS w(symbol, timeframe, since, n)
JOIN patterns p ON p.symbol = w.symbol AND p.timeframe = w.timeframe AND p.detected_at >= w.since
WHERE p.confirmed_ts IS NOT NULL;

-- name: trades
SELECT w.n, {trades}
FROM unnest($1::text[], $2::text[], $3::timestamptz[]) WITH ORDINALITY AS w(symbol, timeframe, since, n)
JOIN signals t ON t.symbol = w.symbol AND t.timeframe = w.timeframe AND t.generated_at >= w.since
WHERE t.origin = 'paper';

-- name: retract_patterns
-- What is said of them is said with their last state.
DELETE FROM patterns WHERE id = ANY($1::uuid[]) RETURNING *;

-- name: retract_trades
DELETE FROM signals WHERE id = ANY($1::uuid[]);
