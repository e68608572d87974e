-- name: bars_oldest_first
-- One page of bars. Bounds come per symbol, so that a page goes on inside the symbol where the last one ended; each
-- symbol is read along the primary key, and no further than the page is long. `limit` per symbol is what keeps a
-- question about a thousand symbols from sorting all their bars.
SELECT b.*
FROM (
    SELECT u.symbol, u.first, u.last
    FROM unnest($1::text[], $2::timestamptz[], $3::timestamptz[]) AS u(symbol, first, last)
    ORDER BY u.symbol COLLATE "C"
) AS asked
CROSS JOIN LATERAL (
    SELECT symbol, ts AS t, open AS o, high AS h, low AS l, close AS c, volume AS v, NULL::bigint AS n, NULL::double precision AS vw,
           revision, synthetic, hours, end_ts
    FROM bars
    WHERE symbol = asked.symbol AND timeframe = $4 AND ts BETWEEN asked.first AND asked.last
    ORDER BY ts
    LIMIT $5
) AS b
ORDER BY asked.symbol COLLATE "C", b.t
LIMIT $5

-- name: bars_newest_first
-- The same with the newest bar of each symbol first; the order is part of the plan, so it cannot be a parameter.
SELECT b.*
FROM (
    SELECT u.symbol, u.first, u.last
    FROM unnest($1::text[], $2::timestamptz[], $3::timestamptz[]) AS u(symbol, first, last)
    ORDER BY u.symbol COLLATE "C"
) AS asked
CROSS JOIN LATERAL (
    SELECT symbol, ts AS t, open AS o, high AS h, low AS l, close AS c, volume AS v, NULL::bigint AS n, NULL::double precision AS vw,
           revision, synthetic, hours, end_ts
    FROM bars
    WHERE symbol = asked.symbol AND timeframe = $4 AND ts BETWEEN asked.first AND asked.last
    ORDER BY ts DESC
    LIMIT $5
) AS b
ORDER BY asked.symbol COLLATE "C", b.t DESC
LIMIT $5

-- name: knows
-- A symbol is known when it has a bar, of any timeframe.
SELECT EXISTS (SELECT FROM bars WHERE symbol = $1)

-- name: judged
-- How many bars could be judged at all: without it "no event" and "not evaluable" look the same.
SELECT count(*) AS count,
       count(*) FILTER (WHERE evaluable) AS evaluable,
       count(*) FILTER (WHERE NOT evaluable) AS not_evaluable,
       count(*) FILTER (WHERE evaluable IS NULL) AS not_analysed,
       max(end_ts) AS as_of
FROM bars
WHERE symbol = $1 AND timeframe = $2 AND ts BETWEEN $3 AND $4

-- name: vsa_counts
-- Counts within the filter, never mixing two rule sets.
SELECT rule_set, kind, count(*) AS count
FROM vsa_events
WHERE symbol = $1 AND timeframe = $2 AND confirmed_ts BETWEEN $3 AND $4
  AND rule_set = ANY ($5::text[]) AND kind = ANY ($6::text[]) AND direction = ANY ($7::text[])
GROUP BY rule_set, kind

-- name: vsa_oldest_first
-- One page of events by the moment they became knowable; the rest of the key breaks ties, so no row is lost or twice.
SELECT kind, direction, rule_set, event_ts, confirmed_ts, knowable_at
FROM vsa_events
WHERE symbol = $1 AND timeframe = $2 AND confirmed_ts BETWEEN $3 AND $4
  AND rule_set = ANY ($5::text[]) AND kind = ANY ($6::text[]) AND direction = ANY ($7::text[])
  AND ($8::timestamptz IS NULL OR (confirmed_ts, event_ts, rule_set, kind) > ($8, $9, $10, $11))
ORDER BY confirmed_ts, event_ts, rule_set, kind
LIMIT $12

-- name: vsa_newest_first
-- The same, backwards.
SELECT kind, direction, rule_set, event_ts, confirmed_ts, knowable_at
FROM vsa_events
WHERE symbol = $1 AND timeframe = $2 AND confirmed_ts BETWEEN $3 AND $4
  AND rule_set = ANY ($5::text[]) AND kind = ANY ($6::text[]) AND direction = ANY ($7::text[])
  AND ($8::timestamptz IS NULL OR (confirmed_ts, event_ts, rule_set, kind) < ($8, $9, $10, $11))
ORDER BY confirmed_ts DESC, event_ts DESC, rule_set DESC, kind DESC
LIMIT $12

-- name: partitions
-- Fixed when the database was installed.
SELECT partitions FROM installation

-- name: epoch
-- Part of every id that a client holds.
SELECT epoch FROM installation
