-- name: newest_mark
-- Moves while bars keep coming.
SELECT max(id) FROM dirty_symbols WHERE timeframe = '1d';

-- name: drop_other_marks
-- Strength follows from daily bars alone; nobody else reads the marks of other timeframes.
DELETE FROM dirty_symbols WHERE id IN (
    SELECT id FROM dirty_symbols WHERE timeframe <> '1d' ORDER BY id LIMIT 100000 FOR UPDATE SKIP LOCKED);

-- name: expand
-- Marks become the days they can reach: from the first changed day to the day before the 253rd later date that
-- stock and benchmark share, but no further than the stock is fresh. A mark of a benchmark is one of all its
-- stocks that have bars on those days; one without a beginning (a sector changed) reaches all days of its
-- symbol, whatever that is now. Marks were committed with the bars they speak of, and one statement sees one
-- state of both. Whatever changed, the newest day may look different.
-- $1 marks at most, $2 the market, $3 sectors and $4 their funds, $5 days that a stock stays fresh, $6 the
-- number of later dates that a bar does bear on.
WITH taken AS (
    DELETE FROM dirty_symbols WHERE id IN (
        SELECT id FROM dirty_symbols WHERE timeframe = '1d' ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED)
    RETURNING symbol, first_ts, last_ts
),
marks AS (SELECT DISTINCT symbol, first_ts, last_ts FROM taken),
stocks AS (
    SELECT k.symbol, s.sector FROM symbol_state k LEFT JOIN sectors s ON s.symbol = k.symbol
    WHERE coalesce(s.kind, 'stock') = 'stock' AND k.symbol <> $2 AND k.symbol <> ALL($4::text[])
),
pairs AS (
    SELECT symbol AS stock, $2 AS benchmark FROM stocks
    UNION ALL
    SELECT s.symbol, f.fund FROM stocks s JOIN unnest($3::text[], $4::text[]) AS f(sector, fund) ON f.sector = s.sector
),
touched AS (
    SELECT p.stock, p.benchmark, m.first_ts, m.last_ts FROM marks m JOIN pairs p ON p.stock = m.symbol
    UNION
    SELECT p.stock, p.benchmark, m.first_ts, m.last_ts FROM marks m JOIN pairs p ON p.benchmark = m.symbol
    WHERE EXISTS (SELECT FROM bars b WHERE b.symbol = p.stock AND b.timeframe = '1d'
                  AND b.ts BETWEEN m.first_ts AND m.last_ts)
    UNION
    SELECT symbol, NULL, first_ts, last_ts FROM marks WHERE first_ts = '-infinity'
),
reached AS MATERIALIZED (
    SELECT greatest(t.first_ts, b.oldest)::date AS first_day,
           least(b.newest::date + $5::int,
                 (SELECT s.ts::date - 1
                  FROM bars s
                  JOIN bars k ON k.symbol = t.benchmark AND k.timeframe = '1d' AND k.ts = s.ts AND NOT k.synthetic
                             AND k.ts > t.last_ts
                  WHERE s.symbol = t.stock AND s.timeframe = '1d' AND s.ts > t.last_ts AND NOT s.synthetic
                  ORDER BY s.ts OFFSET $6 LIMIT 1)) AS last_day
    FROM touched t
    CROSS JOIN LATERAL (
        SELECT (SELECT ts FROM bars WHERE symbol = t.stock AND timeframe = '1d' ORDER BY ts LIMIT 1) AS oldest,
               (SELECT ts FROM bars WHERE symbol = t.stock AND timeframe = '1d' ORDER BY ts DESC LIMIT 1) AS newest
    ) b
    WHERE b.oldest IS NOT NULL
),
spans AS (
    SELECT unnest(range_agg(daterange(first_day, last_day, '[]'))) AS span FROM reached WHERE first_day <= last_day
),
days AS (
    SELECT lower(span) + n AS as_of FROM spans CROSS JOIN LATERAL generate_series(0, upper(span) - lower(span) - 1) AS n
    UNION ALL
    SELECT 'infinity' WHERE EXISTS (SELECT FROM marks)
),
known AS (
    INSERT INTO rs_dates (as_of, version) SELECT as_of, 0 FROM days ORDER BY as_of ON CONFLICT DO NOTHING
),
due AS (
    INSERT INTO dirty_dates (as_of) SELECT as_of FROM days ORDER BY as_of RETURNING 1
)
SELECT (SELECT count(*) FROM taken) AS marks, (SELECT count(*) FROM due) AS days;

-- name: backlog
SELECT count(DISTINCT as_of) FROM dirty_dates;

-- name: lock_dates
-- The oldest days that are due and that nobody else works on, but those of $2; about $1 rows of scores, as a
-- year has 252 sessions. The lock is on rs_dates, where a day is once.
SELECT d.as_of FROM rs_dates d WHERE d.as_of IN (SELECT as_of FROM dirty_dates) AND d.as_of <> ALL($2::date[])
ORDER BY d.as_of LIMIT (SELECT greatest(1, least(366, $1::bigint * 365 / 252 / greatest(1, count(*)))) FROM symbol_state)
FOR UPDATE OF d SKIP LOCKED;

-- name: take_dates
-- Under the lock and before anything is read: what is marked later makes the day due again.
WITH taken AS (DELETE FROM dirty_dates WHERE as_of = ANY($1::date[]) RETURNING as_of)
SELECT DISTINCT as_of FROM taken ORDER BY as_of;

-- name: stocks
-- A symbol that has bars is a stock unless a table or its name says otherwise.
SELECT k.symbol, s.sector FROM symbol_state k LEFT JOIN sectors s ON s.symbol = k.symbol
WHERE coalesce(s.kind, 'stock') = 'stock' AND k.symbol <> ALL($1::text[])
ORDER BY k.symbol COLLATE "C";

-- name: closes
-- Days and closes of each symbol in one value each, in network byte order, because a value per bar would cost
-- more to hand over than to find. `cut` says that older ones exist.
SELECT w.symbol, b.days, b.closes,
       EXISTS (SELECT FROM bars o WHERE o.symbol = w.symbol AND o.timeframe = '1d' AND o.ts < w.since
               AND NOT o.synthetic) AS cut
FROM (SELECT symbol, $2::timestamptz AS since, $3::timestamptz AS until FROM unnest($1::text[]) AS symbol) AS w
CROSS JOIN LATERAL (
    SELECT string_agg(int4send(session_date - DATE '1970-01-01'), ''::bytea ORDER BY ts) AS days,
           string_agg(float8send(close), ''::bytea ORDER BY ts) AS closes
    FROM bars WHERE symbol = w.symbol AND timeframe = '1d' AND ts BETWEEN w.since AND w.until AND NOT synthetic
) b
WHERE b.days IS NOT NULL;

-- name: stored_scores
SELECT as_of, symbol, rs_score, excess_21, excess_63, excess_126, excess_252,
       sector_excess_30d, sector_excess_21, sector_excess_63, sector_excess_126, sector_excess_252,
       rs_ratio, rs_ratio_21, rs_ratio_63, rs_ratio_126, rs_ratio_252, mansfield, rating, sector_rank,
       is_sector_leader, market_status, sector_status
FROM rs_scores WHERE as_of = ANY($1::date[]);

-- name: remove_scores
DELETE FROM rs_scores r USING unnest($1::date[], $2::text[]) AS w(as_of, symbol)
WHERE r.as_of = w.as_of AND r.symbol = w.symbol;

-- name: move_dates
-- The version of a day is that of the fact which tells of it.
UPDATE rs_dates SET version = version + 1 WHERE as_of = ANY($1::date[]) RETURNING as_of, version;

-- name: newest_bar
-- The newest day on which any of these stocks has a bar.
SELECT max(b.session_date) FROM unnest($1::text[]) AS w(symbol)
CROSS JOIN LATERAL (
    SELECT session_date FROM bars WHERE symbol = w.symbol AND timeframe = '1d' AND NOT synthetic
    ORDER BY ts DESC LIMIT 1
) b;

-- name: mapped_stocks
-- Every stock that a table knows or that has a daily bar.
SELECT coalesce(k.symbol, s.symbol) AS symbol, s.sector
FROM (SELECT symbol FROM symbol_state k
      WHERE EXISTS (SELECT FROM bars b WHERE b.symbol = k.symbol AND b.timeframe = '1d' AND NOT b.synthetic)) k
FULL JOIN sectors s ON s.symbol = k.symbol
WHERE coalesce(s.kind, 'stock') = 'stock' AND coalesce(k.symbol, s.symbol) <> ALL($1::text[])
ORDER BY coalesce(k.symbol, s.symbol) COLLATE "C";

-- name: stored_mapping
SELECT symbol, sector, etf, as_of, rs_score, rank, is_sector_leader FROM sector_mapping;

-- name: unmap
DELETE FROM sector_mapping WHERE symbol = ANY($1::text[]);

-- name: map
INSERT INTO sector_mapping (symbol, sector, etf, as_of, rs_score, rank, is_sector_leader)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::date[], $5::float8[], $6::int[], $7::bool[])
ON CONFLICT (symbol) DO UPDATE SET
    sector = EXCLUDED.sector, etf = EXCLUDED.etf, as_of = EXCLUDED.as_of, rs_score = EXCLUDED.rs_score,
    rank = EXCLUDED.rank, is_sector_leader = EXCLUDED.is_sector_leader, updated_at = now();
