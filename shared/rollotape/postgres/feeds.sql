-- name: newest
-- Start of the newest bar of some symbols: one look into the primary key for each.
SELECT k.symbol, (SELECT max(b.ts) FROM bars b WHERE b.symbol = k.symbol AND b.timeframe = $2) AS ts
FROM unnest($1::text[]) AS k(symbol)

-- name: known
-- Revision and content of some bars, by key.
SELECT k.i, b.revision, b.hash
FROM unnest($1::text[], $2::text[], $3::timestamptz[]) WITH ORDINALITY AS k(symbol, timeframe, ts, i)
JOIN bars b ON b.symbol = k.symbol AND b.timeframe = k.timeframe AND b.ts = k.ts
