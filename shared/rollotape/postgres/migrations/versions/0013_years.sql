-- One number says all about holding: the arrays that it was made of go.
ALTER TABLE performance_days ALTER COLUMN held_packed DROP EXPRESSION;
ALTER TABLE performance_days DROP COLUMN held, DROP COLUMN held_trades, ALTER COLUMN held_packed SET NOT NULL;
ALTER TABLE performance_days RENAME COLUMN held_packed TO held;
COMMENT ON COLUMN performance_days.held IS 'Trades by sessions held as one number, eight digits for each number of sessions, those of none last: such numbers add up.';

ALTER TABLE performance_headlines ALTER COLUMN held_packed DROP EXPRESSION;
ALTER TABLE performance_headlines
    DROP COLUMN held, DROP COLUMN held_trades, ALTER COLUMN held_packed SET NOT NULL,
    ADD COLUMN last_wins integer, ADD COLUMN last_sum numeric,
    DROP CONSTRAINT performance_headlines_grain_check;
ALTER TABLE performance_headlines
    ADD CONSTRAINT performance_headlines_grain_check CHECK (grain IN ('day', 'month', 'year'));
ALTER TABLE performance_headlines RENAME COLUMN held_packed TO held;
DROP FUNCTION packed;
COMMENT ON TABLE performance_headlines IS 'Derived from performance_days and the order of trades within a day: what trades have earned under the headings most asked for, per day, month and year, over all values of a column where it says all. Written by cache-builder.';
COMMENT ON COLUMN performance_headlines.period IS 'The day, or the first of the month or year.';
COMMENT ON COLUMN performance_headlines.held IS 'As in performance_days.';
COMMENT ON COLUMN performance_headlines.last_wins IS 'How many of them were won.';
COMMENT ON COLUMN performance_headlines.last_sum IS 'What they earned together.';

UPDATE performance_headlines SET last_r = NULL WHERE heading <> 'type' AND last_r IS NOT NULL;
UPDATE performance_headlines
SET last_wins = (SELECT count(*) FROM unnest(last_r) AS r WHERE r > 1e-9),
    last_sum = (SELECT sum(r) FROM unnest(last_r) AS r)
WHERE last_r IS NOT NULL;

-- Years from the months there are, joined as the roller joins them.
INSERT INTO performance_headlines (grain, period, heading, name, phase, timeframe, origin, test, trades, wins, losses,
                                   r_sum, r_won, r_lost, r_squares, r_high, r_low, r_fall, held, last_exit)
WITH based AS (
    SELECT *, date_trunc('year', period)::date AS year, sum(r_sum) OVER w - r_sum AS base
    FROM performance_headlines
    WHERE grain = 'month'
    WINDOW w AS (PARTITION BY date_trunc('year', period), heading, name, phase, timeframe, origin, test ORDER BY period)
),
peaked AS (
    SELECT *, max(base + r_high) OVER (PARTITION BY year, heading, name, phase, timeframe, origin, test ORDER BY period
                                       ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS peak
    FROM based
)
SELECT 'year', year, heading, name, phase, timeframe, origin, test, sum(trades), sum(wins), sum(losses),
       sum(r_sum), sum(r_won), sum(r_lost), sum(r_squares), greatest(max(base + r_high), 0), least(min(base + r_low), 0),
       max(greatest(r_fall, coalesce(peak, 0) - base - r_low)), sum(held), max(last_exit)
FROM peaked
GROUP BY year, heading, name, phase, timeframe, origin, test;

-- R of trades beyond nine million risked does not fit eight bytes: such a day is rolled anew.
INSERT INTO unrolled_days (day)
SELECT DISTINCT period FROM performance_headlines WHERE EXISTS (SELECT FROM unnest(last_r) AS r WHERE abs(r) >= 9e6);
CREATE FUNCTION in_bytes(last_r numeric[]) RETURNS bytea LANGUAGE sql IMMUTABLE
    RETURN (SELECT '\x08'::bytea || string_agg(int8send(CASE WHEN abs(r) < 9e6 THEN (r * 1e12)::bigint END), ''::bytea ORDER BY n)
            FROM unnest(last_r) WITH ORDINALITY AS u(r, n));
ALTER TABLE performance_headlines ALTER COLUMN last_r TYPE bytea USING in_bytes(last_r);
DROP FUNCTION in_bytes;
COMMENT ON COLUMN performance_headlines.last_r IS 'R of the last twenty trades of the day, oldest first, as whole numbers of 1e-12: after a byte that says how many bytes each takes, the highest first. Null of months and years, where test is not all, and under other headings than types.';

CREATE INDEX idx_performance_headlines_trend ON performance_headlines (name, phase, timeframe, origin, period)
    INCLUDE (trades, wins, r_sum, last_exit, last_r, last_wins, last_sum)
    WHERE grain = 'day' AND heading = 'type' AND test = 'all';

CREATE TABLE sector_standings (
    sector       text,
    leader_count integer NOT NULL,
    etf          text,
    middle       double precision[],
    CONSTRAINT uq_sector_standings UNIQUE NULLS NOT DISTINCT (sector)
);
COMMENT ON TABLE sector_standings IS 'Derived from sector_mapping: what answers say of a sector that has stocks, whose number it does not depend on. Written by cache-builder, with the generation that tells of it.';
COMMENT ON COLUMN sector_standings.sector IS 'Null: stocks of no sector.';
COMMENT ON COLUMN sector_standings.middle IS 'The two scores in the middle, which are one where they are of an odd number; null where no stock has one.';
INSERT INTO sector_standings
SELECT sector, count(*) FILTER (WHERE is_sector_leader), max(etf),
       percentile_disc(ARRAY[0.5, 0.5000001]) WITHIN GROUP (ORDER BY rs_score)
FROM sector_mapping GROUP BY sector;

-- A page that is not the first skips trades without looking at them.
DROP INDEX idx_signals_analytics, idx_signals_exit_date;
CREATE INDEX idx_signals_analytics ON signals (pattern_type, exit_date, id) INCLUDE (origin, timeframe) WHERE status = 'CLOSED';
CREATE INDEX idx_signals_exit_date ON signals (exit_date, id) INCLUDE (origin, timeframe) WHERE status = 'CLOSED';
