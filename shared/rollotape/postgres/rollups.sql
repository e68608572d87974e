-- name: waiting
-- Days that are due, and how long the oldest mark has been there. Marks of patterns and symbols are counted as one each.
SELECT count(DISTINCT (day, pattern_id, symbol)) FILTER (WHERE num_nonnulls(day, pattern_id, symbol) > 0) AS days,
       coalesce(extract(epoch FROM clock_timestamp() - min(marked_at)), 0)::float8 AS oldest_s
FROM unrolled_days

-- name: any
SELECT EXISTS (SELECT FROM unrolled_days)

-- name: lock
-- One roller at a time; another one would do the same work, and wait for these rows. Plans are made for the keys that
-- there are: one for any keys takes them for few, and compares hundreds with each row of a period.
SELECT pg_try_advisory_xact_lock($1), set_config('plan_cache_mode', 'force_custom_plan', true)

-- name: standing
SELECT i.epoch::text, g.generation FROM installation i, generations g WHERE g.dataset = 'analytics'

-- name: resolve
-- Marks of patterns and symbols become marks of the days of their trades, as they are seen now.
WITH taken AS (
    DELETE FROM unrolled_days WHERE pattern_id IS NOT NULL OR symbol IS NOT NULL
    RETURNING pattern_id, symbol, marked_at
),
found AS (
    SELECT s.exit_date, t.marked_at FROM taken t JOIN signals s ON s.pattern_id = t.pattern_id
    WHERE s.status = 'CLOSED'
    UNION ALL
    SELECT s.exit_date, t.marked_at FROM taken t JOIN signals s ON s.symbol = t.symbol
    WHERE s.status = 'CLOSED'
),
marked AS (
    INSERT INTO unrolled_days (day, marked_at)
    SELECT new_york_day(exit_date), min(marked_at) FROM found GROUP BY 1
)
SELECT count(*) FROM taken

-- name: due
-- Every mark that is seen in this snapshot, by day; those that come later stay for the next run.
SELECT day, array_agg(id) AS marks FROM unrolled_days GROUP BY day

-- name: standings
-- Every sector that has stocks, with its leaders and the two scores in the middle, which are one where they are of an
-- odd number: the second share is a little more than half, by less than a stock.
WITH present AS (
    SELECT sector, count(*) FILTER (WHERE is_sector_leader) AS leader_count, max(etf) AS etf,
           percentile_disc(ARRAY[0.5, 0.5000001]) WITHIN GROUP (ORDER BY rs_score) AS middle
    FROM sector_mapping
    GROUP BY sector
),
gone AS (
    DELETE FROM sector_standings s WHERE NOT EXISTS (SELECT FROM present p WHERE p.sector IS NOT DISTINCT FROM s.sector)
)
INSERT INTO sector_standings AS s (sector, leader_count, etf, middle) SELECT * FROM present
ON CONFLICT ON CONSTRAINT uq_sector_standings DO UPDATE
SET leader_count = EXCLUDED.leader_count, etf = EXCLUDED.etf, middle = EXCLUDED.middle
WHERE (s.leader_count, s.etf, s.middle) IS DISTINCT FROM (EXCLUDED.leader_count, EXCLUDED.etf, EXCLUDED.middle)

-- name: trades
-- The columns are those of the class Columns: arrays are read several times faster than rows. R that does not fit 64 bits
-- as a whole number is null among the others, and by itself behind them. $1 a day of New York.
SELECT array_agg(exit_date) AS exit_us,
       array_agg(CASE WHEN abs(r) < 4e6 THEN (r * 1e12)::bigint END) AS r,
       array_agg(sessions_held) AS sessions, array_agg(pattern_type) AS pattern_type, array_agg(phase) AS phase,
       array_agg(direction) AS direction, array_agg(sector) AS sector, array_agg(timeframe) AS timeframe,
       array_agg(origin) AS origin, array_agg(test_confirmed) AS test_confirmed,
       array_agg(r) FILTER (WHERE abs(r) >= 4e6) AS large
FROM (
    SELECT * FROM closed_trades
    WHERE exit_date >= $1::date::timestamp AT TIME ZONE 'America/New_York'
      AND exit_date < ($1::date + 1)::timestamp AT TIME ZONE 'America/New_York'
    ORDER BY exit_date, id
) t

-- name: forget_kinds
DELETE FROM performance_days WHERE day = $1

-- name: forget_some_kinds
-- Nulls are values like others here: arrays are equal where theirs are at the same places.
DELETE FROM performance_days
WHERE day = $1
  AND ARRAY[pattern_type, phase, direction, sector, timeframe, origin, test_confirmed::text] COLLATE "C" IN (
      SELECT ARRAY[pattern_type, phase, direction, sector, timeframe, origin, test_confirmed::text] COLLATE "C"
      FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::boolean[])
           AS k(pattern_type, phase, direction, sector, timeframe, origin, test_confirmed))

-- name: forget_headlines
DELETE FROM performance_headlines WHERE period = $1 AND grain = $2

-- name: forget_some_headlines
DELETE FROM performance_headlines
WHERE period = $1 AND grain = $2
  AND ARRAY[heading, name, phase, timeframe, origin, test] COLLATE "C" IN (
      SELECT ARRAY[heading, name, phase, timeframe, origin, test] COLLATE "C"
      FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[])
           AS k(heading, name, phase, timeframe, origin, test))

-- name: headlines
-- Days of a month, or months of a year, that need not be joined again.
SELECT period, heading, name, phase, timeframe, origin, test, trades, wins, losses, r_sum, r_won, r_lost, r_squares,
       r_high, r_low, r_fall, held, last_exit
FROM performance_headlines
WHERE period >= $1 AND period < $2 AND grain = $3 AND period <> ALL ($4::date[])
ORDER BY period

-- name: unmark
DELETE FROM unrolled_days WHERE id = ANY ($1::bigint[])

-- name: count_up
-- In the transaction that changes the answers: whoever sees the number sees the rows.
UPDATE generations SET generation = generation + 1, changed_at = clock_timestamp()
WHERE dataset = 'analytics' RETURNING generation

-- name: mark_everything
-- Days of which there are trades or rows, and months and years of which there are rows.
INSERT INTO unrolled_days (day)
SELECT DISTINCT new_york_day(exit_date) FROM signals WHERE status = 'CLOSED'
UNION SELECT DISTINCT day FROM performance_days
UNION SELECT DISTINCT period FROM performance_headlines
UNION SELECT NULL

-- name: last_mark
SELECT coalesce(max(id), 0) FROM unrolled_days

-- name: left
SELECT count(DISTINCT day) FROM unrolled_days WHERE id <= $1
