-- name: states
-- What decides whether another event about a stored pattern wins.
SELECT id, symbol, status = 'expired', revision, hash FROM patterns WHERE id = ANY($1::uuid[]);

-- name: recount
-- Counts are a function of the stored events: of every pattern in doubt they are taken anew, whatever changed.
-- In doubt are the patterns named ($1) and those of a key detected from the first changed bar on ($2, $3, $4):
-- our own ($5) when the tape has been read again, the others with the bars.
-- A pattern's own bar is the newest analysed one known at its detection.
WITH doubtful AS (
    SELECT id, symbol, timeframe, detected_at FROM patterns WHERE id = ANY($1::uuid[])
    UNION
    SELECT p.id, p.symbol, p.timeframe, p.detected_at
    FROM unnest($2::text[], $3::text[], $4::timestamptz[]) AS w(symbol, timeframe, first_ts)
    JOIN patterns p ON p.symbol = w.symbol AND p.timeframe = w.timeframe AND p.detected_at >= w.first_ts
     AND (p.confirmed_ts IS NOT NULL) = $5
),
fresh AS (
    SELECT d.id,
           CASE WHEN own.evaluable THEN counts.seed END AS seed,
           CASE WHEN own.evaluable THEN counts.classic END AS classic
    FROM doubtful d
    LEFT JOIN LATERAL (
        SELECT b.evaluable FROM bars b
        WHERE b.symbol = d.symbol AND b.timeframe = d.timeframe AND b.ts <= d.detected_at
          AND b.end_ts <= d.detected_at AND b.evaluable IS NOT NULL
        ORDER BY b.ts DESC LIMIT 1
    ) own ON true
    CROSS JOIN LATERAL (
        SELECT jsonb_build_object(
                   'no_demand', count(*) FILTER (WHERE v.rule_set = 'seed-1' AND v.kind = 'no_demand'),
                   'no_supply', count(*) FILTER (WHERE v.rule_set = 'seed-1' AND v.kind = 'no_supply'),
                   'stopping_volume', count(*) FILTER (WHERE v.rule_set = 'seed-1' AND v.kind = 'stopping_volume')
               ) AS seed,
               jsonb_build_object(
                   'no_demand', count(*) FILTER (WHERE v.rule_set = 'classic-1' AND v.kind = 'no_demand'),
                   'no_supply', count(*) FILTER (WHERE v.rule_set = 'classic-1' AND v.kind = 'no_supply'),
                   'stopping_volume', count(*) FILTER (WHERE v.rule_set = 'classic-1' AND v.kind = 'stopping_volume')
               ) AS classic
        FROM vsa_events v
        WHERE v.symbol = d.symbol AND v.timeframe = d.timeframe
          AND v.knowable_at > d.detected_at - interval '30 days' AND v.knowable_at <= d.detected_at
    ) counts
)
UPDATE patterns p SET vsa_events = f.seed, vsa_events_classic = f.classic
FROM fresh f
WHERE p.id = f.id AND (p.vsa_events, p.vsa_events_classic) IS DISTINCT FROM (f.seed, f.classic)
RETURNING p.id;

-- name: patterns
SELECT * FROM patterns WHERE id = ANY($1::uuid[]) ORDER BY id;

-- name: recount_preliminary
-- The same for the Wyckoff events that came before our own patterns: of the pattern's side, known before it, their
-- standing as of its detection. A PS is of the range that confirms it. No event that counts was confirmed before `since`:
-- a weekly bar ends within a week of its start.
WITH doubtful AS (
    SELECT p.id, p.symbol, p.timeframe, p.rule_set, p.side, p.range_id, p.detected_at,
           least(p.detected_at - interval '40 days', r.opened_ts,
                 (SELECT min(s.event_ts) FROM wyckoff_statuses s
                  WHERE s.symbol = p.symbol AND s.timeframe = p.timeframe AND s.range_id = p.range_id
                    AND s.status = 'confirmed' AND s.confirmed_ts BETWEEN r.opened_ts AND p.detected_at)) AS since
    FROM unnest($1::text[], $2::text[], $3::timestamptz[]) AS w(symbol, timeframe, first_ts)
    JOIN patterns p ON p.symbol = w.symbol AND p.timeframe = w.timeframe AND p.detected_at >= w.first_ts
    LEFT JOIN LATERAL (SELECT opened_ts FROM wyckoff_ranges WHERE range_id = p.range_id LIMIT 1) r ON true
    WHERE p.confirmed_ts IS NOT NULL
),
fresh AS (
    SELECT d.id,
           jsonb_build_object(
               CASE d.side WHEN 'accumulation' THEN 'PS' ELSE 'PSY' END, c.ps,
               CASE d.side WHEN 'accumulation' THEN 'SC' ELSE 'BC' END, c.sc, 'AR', c.ar, 'ST', c.st) AS recent,
           jsonb_build_object(
               CASE d.side WHEN 'accumulation' THEN 'PS' ELSE 'PSY' END, c.ps_in,
               CASE d.side WHEN 'accumulation' THEN 'SC' ELSE 'BC' END, c.sc_in, 'AR', c.ar_in, 'ST', c.st_in) AS within
    FROM doubtful d
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE e.kind IN ('PS', 'PSY') AND e.recent) AS ps,
               count(*) FILTER (WHERE e.kind IN ('SC', 'BC') AND e.recent) AS sc,
               count(*) FILTER (WHERE e.kind = 'AR' AND e.recent) AS ar,
               count(*) FILTER (WHERE e.kind = 'ST' AND e.recent) AS st,
               count(*) FILTER (WHERE e.kind IN ('PS', 'PSY') AND e.within) AS ps_in,
               count(*) FILTER (WHERE e.kind IN ('SC', 'BC') AND e.within) AS sc_in,
               count(*) FILTER (WHERE e.kind = 'AR' AND e.within) AS ar_in,
               count(*) FILTER (WHERE e.kind = 'ST' AND e.within) AS st_in
        FROM (
            SELECT v.kind, v.knowable_at >= d.detected_at - interval '30 days' AS recent,
                   coalesce(v.range_id, s.range_id) = d.range_id AS within
            FROM wyckoff_events v
            LEFT JOIN wyckoff_statuses s
                   ON s.symbol = v.symbol AND s.timeframe = v.timeframe AND s.rule_set = v.rule_set
                  AND s.side = v.side AND s.kind = v.kind AND s.event_ts = v.event_ts
                  AND s.knowable_at <= d.detected_at
                  AND (v.range_id IS NULL OR s.range_id = v.range_id)
            WHERE v.symbol = d.symbol AND v.timeframe = d.timeframe
              AND v.rule_set = d.rule_set AND v.side = d.side
              AND v.kind IN ('PS', 'SC', 'PSY', 'BC', 'AR', 'ST')
              AND v.knowable_at < d.detected_at AND v.confirmed_ts < d.detected_at
              AND v.confirmed_ts >= d.since
              AND s.status IS DISTINCT FROM 'expired' AND s.status IS DISTINCT FROM 'superseded'
        ) e
    ) c
)
UPDATE patterns p SET preliminary_events = f.recent, preliminary_events_in_range = f.within
FROM fresh f
WHERE p.id = f.id
  AND (p.preliminary_events, p.preliminary_events_in_range) IS DISTINCT FROM (f.recent, f.within)
RETURNING p.id;
