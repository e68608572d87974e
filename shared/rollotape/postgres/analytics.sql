-- name: headline_cells
-- What was rolled up under headings, a row per year, month and day: whole years and months, and the days at the ends of
-- the window. The rows of one group (total, name, test) follow each other in time. Each part and heading is looked up by
-- itself, with all but names known: a plan that is the same for every window, and too small for parallel workers.
-- Of a window: $1 phase, $2 timeframe, $3 origin (each may be all), $4 the heading of the rows with a name (type, sector),
-- $5 the only name or null, $6-$8 grains, first days and ends of its parts; ends are exclusive.
WITH cells AS (
    SELECT h.heading = 'all' AS total, c.*
    FROM unnest($6::text[], $7::date[], $8::date[]) AS p(grain, first, after)
    CROSS JOIN unnest(ARRAY['all', $4]) AS h(heading)
    CROSS JOIN LATERAL (
        SELECT name, test, period AS at, NULL::uuid AS id, trades, wins, losses,
               r_sum, r_won, r_lost, r_squares, r_high, r_low, r_fall, held, last_exit
        FROM performance_headlines
        WHERE grain = p.grain AND heading = h.heading AND phase = $1 AND timeframe = $2 AND origin = $3
          AND test IN ('all', 'yes', 'no') AND period >= p.first AND period < p.after AND ($5::text IS NULL OR name = $5)
        OFFSET 0
    ) AS c
    WHERE p.first < p.after
),

-- name: headline_phases
-- Trades of each type by phase, beside the cells.
phased AS (
    SELECT false AS total, c.name, c.phase AS test, sum(c.trades) AS trades
    FROM unnest($6::text[], $7::date[], $8::date[]) AS p(grain, first, after)
    CROSS JOIN LATERAL (
        SELECT name, phase, trades
        FROM performance_headlines
        WHERE grain = p.grain AND heading = 'type' AND phase IN ('A', 'B', 'C', 'D', 'E') AND timeframe = $2 AND origin = $3
          AND test = 'all' AND period >= p.first AND period < p.after AND ($5::text IS NULL OR name = $5)
        OFFSET 0
    ) AS c
    WHERE p.first < p.after
    GROUP BY c.name, c.phase
),

-- name: no_phases
-- By sector nobody asks for phases, and of one phase there is nothing to split.
phased AS (SELECT NULL::boolean AS total, NULL::text AS name, NULL::text AS test, NULL::bigint AS trades WHERE false),

-- name: day_cells
-- What was rolled up per full combination of dimensions: all of it adds up, but for the order of trades within a day.
-- $1 the first day, $2 the day after the last, $3 phase, $4 timeframe, $5 origin, $6 pattern types, $7 sectors (null: any),
-- $8 what names a group.
WITH found AS (
    SELECT *, CASE WHEN $8 = 'type' THEN pattern_type ELSE sector END AS name
    FROM performance_days
    WHERE day >= $1 AND day < $2
      AND ($3::text IS NULL OR phase = $3) AND ($4::text IS NULL OR timeframe = $4)
      AND ($5::text IS NULL OR origin = $5)
      AND ($6::text[] IS NULL OR pattern_type = ANY ($6)) AND ($7::text[] IS NULL OR sector = ANY ($7))
),
cells AS (
    SELECT g.total, CASE WHEN NOT g.total THEN f.name END AS name, g.test, f.trades, f.wins, f.losses,
           f.r_sum, f.r_won, f.r_lost, f.r_squares, f.held, f.last_exit
    FROM found f
    JOIN (VALUES (false, 'all'), (true, 'all'), (false, 'yes'), (true, 'yes'), (false, 'no'), (true, 'no'))
         AS g(total, test)
      ON g.test = 'all' OR (g.test = 'yes') = f.test_confirmed
),
phased AS (
    SELECT false AS total, name, coalesce(phase, 'unknown') AS test, sum(trades) AS trades FROM found GROUP BY name, phase
),

-- name: trades_of_symbols
-- The closed trades of some symbols in a window, each of them once: what is read is bounded by the trades of these symbols.
-- $1-$2 first and last instant, $3 phase, $4 timeframe, $5 origin, $6 pattern types, $7 sectors (null: any), $8 symbols.
WITH found AS (
    SELECT *, new_york_day(exit_date) AS day FROM closed_trades
    WHERE symbol = ANY ($8::text[]) AND exit_date BETWEEN $1 AND $2
      AND ($3::text IS NULL OR phase = $3) AND ($4::text IS NULL OR timeframe = $4)
      AND ($5::text IS NULL OR origin = $5)
      AND ($6::text[] IS NULL OR pattern_type = ANY ($6)) AND ($7::text[] IS NULL OR sector = ANY ($7))
),

-- name: trades_of_window
-- The same of all symbols, by the instants of their exits.
WITH found AS (
    SELECT *, new_york_day(exit_date) AS day FROM closed_trades
    WHERE $8::text[] IS NULL AND exit_date BETWEEN $1 AND $2
      AND ($3::text IS NULL OR phase = $3) AND ($4::text IS NULL OR timeframe = $4)
      AND ($5::text IS NULL OR origin = $5)
      AND ($6::text[] IS NULL OR pattern_type = ANY ($6)) AND ($7::text[] IS NULL OR sector = ANY ($7))
),

-- name: trade_cells
-- A trade is a cell of its own: it is high where it won, and fell where it lost.
cells AS (
    SELECT g.total, CASE WHEN g.total THEN NULL WHEN $9 = 'type' THEN f.pattern_type ELSE f.sector END AS name, g.test,
           f.exit_date AS at, f.id, 1 AS trades, (f.r > 1e-9)::int AS wins, (f.r < -1e-9)::int AS losses, f.r AS r_sum,
           CASE WHEN f.r > 1e-9 THEN f.r ELSE 0 END AS r_won, CASE WHEN f.r < -1e-9 THEN f.r ELSE 0 END AS r_lost,
           f.r * f.r AS r_squares, greatest(f.r, 0) AS r_high, least(f.r, 0) AS r_low, greatest(-f.r, 0) AS r_fall,
           ('1' || repeat('0', 8 * f.sessions_held))::numeric AS held, f.exit_date AS last_exit
    FROM found f
    JOIN (VALUES (false, 'all'), (true, 'all'), (false, 'yes'), (true, 'yes'), (false, 'no'), (true, 'no'))
         AS g(total, test)
      ON g.test = 'all' OR (g.test = 'yes') = f.test_confirmed
),
phased AS (
    SELECT false AS total, CASE WHEN $9 = 'type' THEN pattern_type ELSE sector END AS name,
           coalesce(phase, 'unknown') AS test, count(*) AS trades
    FROM found GROUP BY 2, phase
),

-- name: joined
-- Cells joined in the order of time, group by group. A cell starts at the level where the one before it ended; the
-- largest fall is one within a cell, or from the highest so far down to the lowest within a later cell.
based AS (
    SELECT *, sum(r_sum) OVER (PARTITION BY total, name, test ORDER BY at, id ROWS UNBOUNDED PRECEDING) - r_sum AS base
    FROM cells
),
peaked AS (
    SELECT *, max(base + r_high) OVER (PARTITION BY total, name, test ORDER BY at, id
                                       ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS peak
    FROM based
),
measured AS (
    SELECT total, name, test, sum(trades) AS trades, sum(wins) AS wins, sum(losses) AS losses, sum(r_sum) AS r_sum,
           sum(r_won) AS r_won, sum(r_lost) AS r_lost, sum(r_squares) AS r_squares,
           greatest(max(base + r_high), 0) AS r_high, least(min(base + r_low), 0) AS r_low,
           max(greatest(r_fall, coalesce(peak, 0) - base - r_low)) AS r_fall, max(last_exit) AS last_exit, sum(held) AS held
    FROM peaked
    GROUP BY total, name, test
)
SELECT * FROM measured
UNION ALL
SELECT total, name, 'phase ' || test, trades, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM phased

-- name: summed
-- The same without what depends on the order of trades, where they are too many to be looked at one by one.
measured AS (
    SELECT total, name, test, sum(trades) AS trades, sum(wins) AS wins, sum(losses) AS losses, sum(r_sum) AS r_sum,
           sum(r_won) AS r_won, sum(r_lost) AS r_lost, sum(r_squares) AS r_squares,
           NULL::numeric AS r_high, NULL::numeric AS r_low, NULL::numeric AS r_fall, max(last_exit) AS last_exit, sum(held) AS held
    FROM cells
    GROUP BY total, name, test
)
SELECT * FROM measured
UNION ALL
SELECT total, name, 'phase ' || test, trades, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM phased

-- name: few
-- Whether the trades are at most so many, without counting all of them: $9 is one more.
SELECT count(*) < $9 FROM (SELECT FROM found LIMIT $9) AS f

-- name: leaders
-- Every sector that has stocks. $1 sectors (null: any).
SELECT sector, leader_count, etf, middle FROM sector_standings WHERE $1::text[] IS NULL OR sector = ANY ($1)

-- name: generation
-- By which answers are kept: the epoch changes when a database is restored.
SELECT i.epoch, g.generation, g.changed_at FROM installation i, generations g WHERE g.dataset = 'analytics'

-- name: trend_of_headlines
--- Days of one type, with up to twenty days before them: a day has a trade at least, so they hold the twenty trades that
--- the rolling line needs. All of it is in one index, side by side; R of the last trades is told only where a day with
--- fewer than twenty needs it. $1 type, $2 phase, $3 timeframe, $4 origin, $5 first day, $6 the day after the last.
WITH days AS (
    (SELECT period, trades, wins, r_sum, last_exit, last_r, last_wins, last_sum FROM performance_headlines
     WHERE grain = 'day' AND heading = 'type' AND name = $1 AND phase = $2 AND timeframe = $3 AND origin = $4 AND test = 'all'
       AND period < $5
     ORDER BY period DESC LIMIT 20)
    UNION ALL
    SELECT period, trades, wins, r_sum, last_exit, last_r, last_wins, last_sum FROM performance_headlines
    WHERE grain = 'day' AND heading = 'type' AND name = $1 AND phase = $2 AND timeframe = $3 AND origin = $4 AND test = 'all'
      AND period >= $5 AND period < $6
)
SELECT period AS day, trades, wins, r_sum, last_exit, last_wins, last_sum,
       CASE WHEN trades < 20 OR lead(trades) OVER (ORDER BY period) < 20 THEN last_r END AS last_r
FROM days
ORDER BY period

-- name: trades_before
-- The trades just before the window, which the rolling line reaches back to.
earlier AS (
    SELECT exit_date, id, r, new_york_day(exit_date) AS day FROM closed_trades
    WHERE exit_date < $1
      AND ($3::text IS NULL OR phase = $3) AND ($4::text IS NULL OR timeframe = $4)
      AND ($5::text IS NULL OR origin = $5)
      AND ($6::text[] IS NULL OR pattern_type = ANY ($6)) AND ($7::text[] IS NULL OR sector = ANY ($7))
    ORDER BY exit_date DESC, id DESC
    LIMIT 19
),

-- name: none_before
-- Of a few symbols all trades are read.
earlier AS (SELECT exit_date, id, r, day FROM found WHERE false),

-- name: trend_of_trades
-- The same from trades, each with those up to nineteen before it; $9 the first day that is asked about.
lines AS (
    SELECT day, r, exit_date, id,
           count(*) OVER w AS last_trades, count(*) FILTER (WHERE r > 1e-9) OVER w AS last_wins, sum(r) OVER w AS last_sum
    FROM (SELECT exit_date, id, r, day FROM earlier UNION ALL SELECT exit_date, id, r, day FROM found) AS t
    WINDOW w AS (ORDER BY exit_date, id ROWS BETWEEN 19 PRECEDING AND CURRENT ROW)
),
ends AS (
    SELECT DISTINCT ON (day) day, last_trades, last_wins, last_sum FROM lines ORDER BY day, exit_date DESC, id DESC
)
SELECT day, d.trades, d.wins, d.r_sum, d.last_exit, e.last_trades, e.last_wins, e.last_sum
FROM ends e
JOIN (SELECT day, count(*) AS trades, count(*) FILTER (WHERE r > 1e-9) AS wins, sum(r) AS r_sum, max(exit_date) AS last_exit
      FROM found GROUP BY day) d USING (day)
WHERE day >= $9
ORDER BY day

-- name: trend_of_many
-- The same where trades are too many to be looked at one after the other: without the rolling line.
SELECT day, count(*) AS trades, count(*) FILTER (WHERE r > 1e-9) AS wins, sum(r) AS r_sum, max(exit_date) AS last_exit
FROM found
WHERE day >= $9
GROUP BY day
ORDER BY day

-- name: trend_of_days
-- The same from what was rolled up, of all symbols.
-- $1 the first day, $2 the day after the last, $3 phase, $4 timeframe, $5 origin, $6 pattern types, $7 sectors.
SELECT day, sum(trades) AS trades, sum(wins) AS wins, sum(r_sum) AS r_sum, max(last_exit) AS last_exit
FROM performance_days
WHERE day >= $1 AND day < $2
  AND ($3::text IS NULL OR phase = $3) AND ($4::text IS NULL OR timeframe = $4)
  AND ($5::text IS NULL OR origin = $5)
  AND ($6::text[] IS NULL OR pattern_type = ANY ($6)) AND ($7::text[] IS NULL OR sector = ANY ($7))
GROUP BY day
ORDER BY day

-- name: headline_counts
-- How many trades closed in each year, month and day of a window; a page deep within finds its day by them.
-- $1 heading, $2 phase, $3 timeframe, $4 origin, $5 names (null: any), $6-$8 grains, first days and ends of its parts.
SELECT c.grain, c.period, sum(c.trades) AS trades, max(c.last_exit) AS last_exit
FROM unnest($6::text[], $7::date[], $8::date[]) AS p(grain, first, after)
CROSS JOIN LATERAL (
    SELECT grain, period, trades, last_exit
    FROM performance_headlines
    WHERE grain = p.grain AND heading = $1 AND phase = $2 AND timeframe = $3 AND origin = $4
      AND test = 'all' AND period >= p.first AND period < p.after AND ($5::text[] IS NULL OR name = ANY ($5))
    OFFSET 0
) AS c
WHERE p.first < p.after
GROUP BY c.grain, c.period
ORDER BY c.period

-- name: day_counts
-- The same from all combinations of dimensions, day by day.
SELECT 'day' AS grain, day AS period, sum(trades) AS trades, max(last_exit) AS last_exit
FROM performance_days
WHERE day >= $1 AND day < $2
  AND ($3::text IS NULL OR phase = $3) AND ($4::text IS NULL OR timeframe = $4)
  AND ($5::text IS NULL OR origin = $5)
  AND ($6::text[] IS NULL OR pattern_type = ANY ($6)) AND ($7::text[] IS NULL OR sector = ANY ($7))
GROUP BY day
ORDER BY day

-- name: counted
-- The same one by one; what follows says of which trades.
SELECT 'day' AS grain, new_york_day({at}) AS period, count(*) AS trades, max({at}) AS last_exit

-- name: trade_columns
-- A trade as it is shown; `at` is what it is sorted by.
SELECT {at} AS at, s.id, s.origin, s.source, s.symbol, s.timeframe, s.pattern_id, s.pattern_type, s.direction, s.status,
       x.sector, p.phase, s.generated_at, s.changed_at, s.entry_date, s.entry_price, s.stop, s.target, s.planned_r,
       s.exit_date, s.exit_price, s.exit_reason, s.r AS realized_r, s.sessions_held,
       CASE WHEN p.test_confirmed AND s.exit_date IS NOT NULL THEN p.confirmed_at IS NULL OR p.confirmed_at <= s.exit_date
            ELSE p.test_confirmed END AS test_confirmed

-- name: trades_joined
-- With the pattern a trade follows and the present sector, as in the view of closed trades.
FROM signals s
LEFT JOIN patterns p ON p.id = s.pattern_id
LEFT JOIN sectors x ON x.symbol = s.symbol AND x.kind = 'stock'

-- name: vsa_counts
-- Volume-spread events that became known in a window. $1-$2 instants, $3 timeframe, $4 symbols, $5 sectors (null: any).
SELECT v.rule_set, v.kind, v.direction, count(*) AS count
FROM vsa_events v
LEFT JOIN sectors x ON x.symbol = v.symbol AND x.kind = 'stock'
WHERE v.knowable_at BETWEEN $1 AND $2 AND ($3::text IS NULL OR v.timeframe = $3)
  AND ($4::text[] IS NULL OR v.symbol = ANY ($4)) AND ($5::text[] IS NULL OR x.sector = ANY ($5))
GROUP BY v.rule_set, v.kind, v.direction
ORDER BY v.rule_set, v.kind, v.direction

-- name: vsa_of_patterns
-- Patterns detected in a window by type, how many of them could be judged, and their events added up by rule set.
-- $1-$2 instants, $3 timeframe, $4 symbols, $5 sectors, $6 phase, $7 whether they are our own, $8 types (null: any).
SELECT p.pattern_type, c.rule_set, count(*) AS patterns, count(c.events) AS judged,
       sum((c.events ->> 'no_demand')::int) AS no_demand, sum((c.events ->> 'no_supply')::int) AS no_supply,
       sum((c.events ->> 'stopping_volume')::int) AS stopping_volume
FROM patterns p
LEFT JOIN sectors x ON x.symbol = p.symbol AND x.kind = 'stock'
CROSS JOIN LATERAL (VALUES ('seed-1', p.vsa_events), ('classic-1', p.vsa_events_classic)) AS c(rule_set, events)
WHERE p.detected_at BETWEEN $1 AND $2 AND ($3::text IS NULL OR p.timeframe = $3)
  AND ($4::text[] IS NULL OR p.symbol = ANY ($4)) AND ($5::text[] IS NULL OR x.sector = ANY ($5))
  AND ($6::text IS NULL OR p.phase = $6) AND ($7::boolean IS NULL OR (p.source = 'rollo') = $7)
  AND ($8::text[] IS NULL OR p.pattern_type = ANY ($8))
GROUP BY p.pattern_type, c.rule_set
ORDER BY p.pattern_type, c.rule_set DESC

-- name: pattern_asked
-- A pattern of an outside system names no rule set of ours ($2 is the present one), and perhaps no side.
SELECT id, symbol, timeframe, detected_at, range_id,
       CASE WHEN source = 'rollo' THEN rule_set ELSE $2 END AS rule_set,
       coalesce(side, CASE WHEN pattern_type IN ('SPRING', 'SOS', 'LPS') THEN 'accumulation'
                           WHEN pattern_type IN ('UTAD', 'SOW', 'LPSY') THEN 'distribution' END) AS side
FROM patterns WHERE id = $1

-- name: preliminary
-- What was known before a pattern on its side, of the last days or of its range, in the standing it had by then.
-- $1 symbol, $2 timeframe, $3 rule set, $4 side, $5 detected, $6 range or null, $7 days, $8 kinds.
SELECT e.kind, e.event_ts, e.confirmed_ts, e.knowable_at, e.price, e.confidence, s.status,
       coalesce(e.range_id, s.range_id)::text AS range_id,
       e.knowable_at >= $5::timestamptz - make_interval(days => $7) AS recent,
       coalesce(coalesce(e.range_id, s.range_id) = $6, false) AS within
FROM wyckoff_events e
LEFT JOIN LATERAL (
    SELECT s.status, s.range_id FROM wyckoff_statuses s
    WHERE s.symbol = e.symbol AND s.timeframe = e.timeframe AND s.rule_set = e.rule_set AND s.side = e.side
      AND s.kind = e.kind AND s.event_ts = e.event_ts AND (e.range_id IS NULL OR s.range_id = e.range_id)
      AND s.knowable_at <= $5
    ORDER BY s.confirmed_ts DESC, s.status LIMIT 1
) s ON true
WHERE e.symbol = $1 AND e.timeframe = $2 AND e.rule_set = $3 AND e.side = $4 AND e.kind = ANY ($8::text[])
  AND e.knowable_at < $5 AND e.confirmed_ts < $5
  AND s.status IS DISTINCT FROM 'expired' AND s.status IS DISTINCT FROM 'superseded'
  AND (e.knowable_at >= $5 - make_interval(days => $7) OR coalesce(e.range_id, s.range_id) = $6)
ORDER BY e.knowable_at, e.event_ts, e.kind
