-- name: alone
-- Two imports at once would each judge by what the other is about to change. Readers are not kept waiting.
LOCK TABLE sectors IN SHARE ROW EXCLUSIVE MODE;

-- name: store
-- Name, industry and kind stay as they were where nothing is said of them. A symbol whose sector or kind changed is marked
-- from its first day to its last; its old and its new sector are ranked anew with it.
WITH given AS (
    SELECT w.symbol, coalesce(w.name, s.name) AS name, w.sector, coalesce(w.industry, s.industry) AS industry,
           coalesce(w.kind, s.kind, 'stock') AS kind,
           (s.sector, s.kind) IS DISTINCT FROM (w.sector, coalesce(w.kind, s.kind, 'stock')) AS moves
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[]) AS w(symbol, name, sector, industry, kind)
    LEFT JOIN sectors s ON s.symbol = w.symbol
),
stored AS (
    INSERT INTO sectors AS s (symbol, name, sector, industry, kind)
    SELECT symbol, name, sector, industry, kind FROM given
    ON CONFLICT (symbol) DO UPDATE SET
        name = EXCLUDED.name, sector = EXCLUDED.sector, industry = EXCLUDED.industry, kind = EXCLUDED.kind
    WHERE (s.name, s.sector, s.industry, s.kind)
        IS DISTINCT FROM (EXCLUDED.name, EXCLUDED.sector, EXCLUDED.industry, EXCLUDED.kind)
    RETURNING 1
),
marked AS (
    INSERT INTO dirty_symbols (symbol, timeframe, first_ts, last_ts)
    SELECT symbol, '1d', '-infinity', 'infinity' FROM given WHERE moves RETURNING 1
)
SELECT (SELECT count(*) FROM stored) AS changed, (SELECT count(*) FROM marked) AS moved;
