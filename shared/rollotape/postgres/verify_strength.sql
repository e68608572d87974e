-- name: stocks
SELECT k.symbol, (SELECT s.sector FROM sectors s WHERE s.symbol = k.symbol)
FROM symbol_state k
WHERE NOT EXISTS (SELECT FROM sectors s WHERE s.symbol = k.symbol AND s.kind <> 'stock') AND k.symbol <> ALL($1::text[])
ORDER BY k.symbol COLLATE "C";

-- name: days
-- Every day on which any of these stocks has a bar, and every day that has scores, whether or not it should.
SELECT session_date FROM bars WHERE timeframe = '1d' AND NOT synthetic AND symbol = ANY($1::text[])
UNION
SELECT as_of FROM rs_scores
ORDER BY 1;

-- name: newest
SELECT max(session_date) FROM bars WHERE timeframe = '1d' AND NOT synthetic AND symbol = ANY($1::text[]);

-- name: due
SELECT DISTINCT as_of FROM dirty_dates;

-- name: marked_from
-- What a mark will reach is not known before it is expanded; it reaches nothing before its first day.
SELECT min(CASE WHEN first_ts = '-infinity' THEN DATE '0001-01-01' ELSE first_ts::date END)
FROM dirty_symbols WHERE timeframe = '1d';

-- name: closes
SELECT session_date, close FROM bars WHERE symbol = $1 AND timeframe = '1d' AND NOT synthetic ORDER BY ts;

-- name: scores
SELECT * FROM rs_scores WHERE symbol = $1 AND as_of = ANY($2::date[]);

-- name: strangers
-- Rows of what is no stock: some are enough to know.
SELECT as_of, symbol FROM rs_scores WHERE symbol <> ALL($1::text[]) ORDER BY as_of, symbol COLLATE "C" LIMIT 100;

-- name: mapped_stocks
SELECT s.symbol, s.sector FROM sectors s WHERE s.kind = 'stock' AND s.symbol <> ALL($1::text[])
UNION
SELECT DISTINCT b.symbol, (SELECT s.sector FROM sectors s WHERE s.symbol = b.symbol) FROM bars b
WHERE b.timeframe = '1d' AND NOT b.synthetic AND b.symbol <> ALL($1::text[])
  AND NOT EXISTS (SELECT FROM sectors s WHERE s.symbol = b.symbol AND s.kind <> 'stock');

-- name: mapping
SELECT symbol, sector, etf, as_of, rs_score, rank, is_sector_leader FROM sector_mapping;
