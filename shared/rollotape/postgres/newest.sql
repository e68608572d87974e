-- name: symbols
-- Everything that ever had a bar.
SELECT symbol FROM symbol_state

-- name: bars
-- The newest stored bar of each symbol and timeframe: one step along the primary key for each.
SELECT b.*
FROM unnest($1::text[]) AS asked(symbol)
CROSS JOIN unnest($2::text[]) AS lasting(timeframe)
CROSS JOIN LATERAL (
    SELECT symbol, timeframe, ts AS t, open AS o, high AS h, low AS l, close AS c, volume AS v,
           NULL::bigint AS n, NULL::double precision AS vw, revision, synthetic, hours, end_ts
    FROM bars
    WHERE symbol = asked.symbol AND timeframe = lasting.timeframe
    ORDER BY ts DESC
    LIMIT 1
) AS b

-- name: standing
-- What a scan takes from elsewhere than the pattern: the sector, and the newest score with its ratio.
SELECT symbol, coalesce(m.sector, s.sector) AS sector, r.rs_ratio, m.rs_score
FROM sector_mapping m
FULL JOIN sectors s USING (symbol)
LEFT JOIN LATERAL (
    SELECT rs_ratio FROM rs_scores
    WHERE symbol = m.symbol AND as_of <= m.as_of AND m.rs_score IS NOT NULL
    ORDER BY as_of DESC LIMIT 1
) r ON true
