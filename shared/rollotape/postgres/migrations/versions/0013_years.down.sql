DROP INDEX idx_signals_analytics, idx_signals_exit_date;
CREATE INDEX idx_signals_analytics ON signals (pattern_type, exit_date, id) WHERE status = 'CLOSED';
CREATE INDEX idx_signals_exit_date ON signals (exit_date, id) WHERE status = 'CLOSED';

DROP TABLE sector_standings;
DROP INDEX idx_performance_headlines_trend;
DELETE FROM performance_headlines WHERE grain = 'year';

CREATE FUNCTION packed(held integer[], held_trades integer[]) RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (SELECT coalesce(sum((trades || repeat('0', 8 * sessions))::numeric), 0) FROM unnest(held, held_trades) AS h(sessions, trades));
COMMENT ON FUNCTION packed IS 'Trades by sessions held as one number, eight digits for each number of sessions, so that many of them are added up by one sum.';

CREATE FUNCTION unpacked(held numeric, OUT sessions integer[], OUT trades integer[]) LANGUAGE sql IMMUTABLE AS $$
    SELECT array_agg(n ORDER BY n), array_agg(of_n ORDER BY n)
    FROM (SELECT n, substr(digits, length(digits) - 8 * n - 7, 8)::integer AS of_n
          FROM (SELECT lpad(held::text, (length(held::text) + 7) / 8 * 8, '0')) AS d(digits),
               generate_series(0, length(digits) / 8 - 1) AS n) AS h
    WHERE of_n > 0
$$;

ALTER TABLE performance_days RENAME COLUMN held TO packed;
ALTER TABLE performance_days ADD COLUMN held integer[], ADD COLUMN held_trades integer[];
UPDATE performance_days SET (held, held_trades) = (SELECT * FROM unpacked(packed));
ALTER TABLE performance_days
    DROP COLUMN packed, ALTER COLUMN held SET NOT NULL, ALTER COLUMN held_trades SET NOT NULL,
    ADD COLUMN held_packed numeric GENERATED ALWAYS AS (packed(held, held_trades)) STORED;
COMMENT ON COLUMN performance_days.held IS 'Sessions held, each number once, ascending; held_trades says of how many trades.';

ALTER TABLE performance_headlines RENAME COLUMN held TO packed;
CREATE FUNCTION of_bytes(last_r bytea) RETURNS numeric[] LANGUAGE sql IMMUTABLE
    RETURN ARRAY(SELECT ('x' || encode(substr(last_r, at, 8), 'hex'))::bit(64)::bigint * 1e-12
                 FROM generate_series(2, length(last_r), 8) AS at ORDER BY at);
ALTER TABLE performance_headlines
    ALTER COLUMN last_r TYPE numeric[] USING CASE WHEN last_r IS NOT NULL THEN of_bytes(last_r) END;
DROP FUNCTION of_bytes;
ALTER TABLE performance_headlines
    DROP COLUMN last_wins, DROP COLUMN last_sum, ADD COLUMN held integer[], ADD COLUMN held_trades integer[],
    DROP CONSTRAINT performance_headlines_grain_check;
ALTER TABLE performance_headlines ADD CONSTRAINT performance_headlines_grain_check CHECK (grain IN ('day', 'month'));
UPDATE performance_headlines SET (held, held_trades) = (SELECT * FROM unpacked(packed));
ALTER TABLE performance_headlines
    DROP COLUMN packed, ALTER COLUMN held SET NOT NULL, ALTER COLUMN held_trades SET NOT NULL,
    ADD COLUMN held_packed numeric GENERATED ALWAYS AS (packed(held, held_trades)) STORED;
DROP FUNCTION unpacked;
COMMENT ON TABLE performance_headlines IS 'Derived from performance_days and the order of trades within a day: what trades have earned under the headings most asked for, per day and per month, over all values of a column where it says all. Written by cache-builder.';
COMMENT ON COLUMN performance_headlines.period IS 'The day, or the first of the month.';
COMMENT ON COLUMN performance_headlines.last_r IS 'R of the last twenty trades of the day, oldest first; of months, and where test is not all, null.';
-- Those under other headings than types are added up anew.
INSERT INTO unrolled_days (day) SELECT DISTINCT period FROM performance_headlines WHERE grain = 'day';
