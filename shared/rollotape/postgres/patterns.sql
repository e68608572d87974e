-- name: ranks
-- What decides whether another event about a stored pattern wins.
SELECT id, status = 'expired', revision, hash FROM patterns WHERE id = ANY($1::uuid[]);

-- name: recount
-- Counts are a function of the stored events: of every pattern in doubt they are taken anew, whatever changed.
-- In doubt are the patterns named ($1) and those of a key detected from the first changed bar on ($2, $3, $4).
-- A pattern's own bar is the newest analysed one known at its detection.
WITH doubtful AS (
    SELECT id, symbol, timeframe, detected_at FROM patterns WHERE id = ANY($1::uuid[])
    UNION
    SELECT p.id, p.symbol, p.timeframe, p.detected_at
    FROM unnest($2::text[], $3::text[], $4::timestamptz[]) AS w(symbol, timeframe, first_ts)
    JOIN patterns p ON p.symbol = w.symbol AND p.timeframe = w.timeframe AND p.detected_at >= w.first_ts
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
