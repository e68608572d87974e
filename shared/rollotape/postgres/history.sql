-- name: symbols
-- Symbols of one timeframe with analysed bars before an instant, where these begin and end, and their sectors.
SELECT s.symbol, CASE WHEN k.kind <> 'benchmark' THEN k.sector END AS sector, b.first_ts, b.last_ts
FROM symbol_state s
LEFT JOIN sectors k ON k.symbol = s.symbol
CROSS JOIN LATERAL (
    SELECT min(ts) AS first_ts, max(ts) AS last_ts FROM bars
    WHERE symbol = s.symbol AND timeframe = $1 AND ts < $3 AND evaluable IS NOT NULL
) b
WHERE b.first_ts IS NOT NULL AND ($2::text[] IS NULL OR s.symbol = ANY($2))
ORDER BY s.symbol COLLATE "C";

-- name: bars
-- Analysed bars of one key before an instant, one value per column in network byte order, oldest first.
SELECT string_agg(timestamptz_send(ts), ''::bytea ORDER BY ts) AS ts,
       string_agg(timestamptz_send(end_ts), ''::bytea ORDER BY ts) AS end_ts,
       string_agg(date_send(session_date), ''::bytea ORDER BY ts) AS session,
       string_agg(float8send(open), ''::bytea ORDER BY ts) AS open,
       string_agg(float8send(high), ''::bytea ORDER BY ts) AS high,
       string_agg(float8send(low), ''::bytea ORDER BY ts) AS low,
       string_agg(float8send(close), ''::bytea ORDER BY ts) AS close,
       string_agg(float8send(volume), ''::bytea ORDER BY ts) AS volume
FROM bars WHERE symbol = $1 AND timeframe = $2 AND ts < $3 AND evaluable IS NOT NULL;
