CREATE FUNCTION new_york_day(timestamptz) RETURNS date LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ($1 AT TIME ZONE 'America/New_York')::date;
COMMENT ON FUNCTION new_york_day IS 'The day that an instant belongs to: all days of analytics are those of New York.';

ALTER TABLE signals ADD COLUMN sessions_held integer CHECK (sessions_held >= 0);
ALTER TABLE signals ADD COLUMN r numeric GENERATED ALWAYS AS
    (round((exit_price - entry_price) * 1.000000000000000000000000 / NULLIF(entry_price - stop, 0), 12)) STORED;
COMMENT ON COLUMN signals.sessions_held IS 'Sessions in (entry day, exit day]; null while it is not closed.';
COMMENT ON COLUMN signals.r IS 'realized_r as a decimal of 12 places: what all analytics add up. Digits beyond are cut by rounding half away from zero.';

CREATE INDEX idx_signals_analytics ON signals (pattern_type, exit_date, id) WHERE status = 'CLOSED';
CREATE INDEX idx_signals_exit_date ON signals (exit_date, id) WHERE status = 'CLOSED';
CREATE INDEX idx_signals_pattern ON signals (pattern_id);
CREATE INDEX idx_signals_going ON signals (generated_at, id) WHERE status IN ('PENDING', 'OPEN');

CREATE VIEW closed_trades AS
SELECT s.id, s.origin, s.source, s.symbol, s.timeframe, s.pattern_id, s.pattern_type, s.direction,
       s.entry_date, s.exit_date, s.r, s.sessions_held, x.sector, p.phase,
       CASE WHEN p.test_confirmed THEN p.confirmed_at IS NULL OR p.confirmed_at <= s.exit_date
            ELSE p.test_confirmed END AS test_confirmed
FROM signals s
LEFT JOIN patterns p ON p.id = s.pattern_id
LEFT JOIN sectors x ON x.symbol = s.symbol AND x.kind = 'stock'
WHERE s.status = 'CLOSED';
COMMENT ON VIEW closed_trades IS 'Closed trades with what analytics ask about: the present sector, the phase of the pattern, and whether its test had come by the exit (null where the type has none, or no pattern is stored).';

CREATE TABLE unrolled_days (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    day       date,
    marked_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE unrolled_days IS 'Marks: trades closed on this day of New York changed, or what is known of them did, and the rollups of the day are due. Written by triggers, in the transaction that changed them; taken by cache-builder.';
COMMENT ON COLUMN unrolled_days.day IS 'Null: no rollup is due, but answers changed (a trade that goes on, a score, a leader).';

CREATE TABLE generations (
    dataset    text COLLATE "C" PRIMARY KEY,
    generation bigint NOT NULL DEFAULT 0 CHECK (generation >= 0),
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE generations IS 'How often the answers of a dataset changed; counted up in the transaction that changes them, and part of every key under which an answer is kept.';
INSERT INTO generations (dataset) VALUES ('analytics');

CREATE TABLE performance_days (
    day            date NOT NULL,
    pattern_type   text COLLATE "C",
    phase          text COLLATE "C",
    direction      text COLLATE "C" NOT NULL,
    sector         text,
    timeframe      text COLLATE "C" NOT NULL,
    origin         text COLLATE "C" NOT NULL,
    test_confirmed boolean,
    trades         integer NOT NULL CHECK (trades > 0),
    wins           integer NOT NULL,
    losses         integer NOT NULL,
    r_sum          numeric NOT NULL,
    r_won          numeric NOT NULL,
    r_lost         numeric NOT NULL,
    r_squares      numeric NOT NULL,
    r_high         numeric NOT NULL,
    r_low          numeric NOT NULL,
    r_fall         numeric NOT NULL,
    held           integer[] NOT NULL,
    held_trades    integer[] NOT NULL,
    last_exit      timestamptz NOT NULL,
    CONSTRAINT uq_performance_days UNIQUE NULLS NOT DISTINCT
        (day, pattern_type, phase, direction, sector, timeframe, origin, test_confirmed)
);
COMMENT ON TABLE performance_days IS 'Derived from closed trades: what those of one day and one kind have earned. Written by cache-builder.';
COMMENT ON COLUMN performance_days.day IS 'Day of the exit in New York.';
COMMENT ON COLUMN performance_days.r_lost IS 'Sum of R of the losses: at most 0.';
COMMENT ON COLUMN performance_days.r_high IS 'Highest of R added up by exit instant, then id, from 0 at the start of the day.';
COMMENT ON COLUMN performance_days.r_fall IS 'Largest fall of R added up from its highest so far within the day: with r_high, r_low and r_sum enough to go on over many days.';
COMMENT ON COLUMN performance_days.held IS 'Sessions held, each number once, ascending; held_trades says of how many trades.';

CREATE TABLE performance_headlines (
    grain       text COLLATE "C" NOT NULL CHECK (grain IN ('day', 'month')),
    period      date NOT NULL,
    heading     text COLLATE "C" NOT NULL CHECK (heading IN ('all', 'type', 'sector')),
    name        text,
    phase       text COLLATE "C" NOT NULL,
    timeframe   text COLLATE "C" NOT NULL,
    origin      text COLLATE "C" NOT NULL,
    test        text COLLATE "C" NOT NULL CHECK (test IN ('all', 'yes', 'no')),
    trades      integer NOT NULL CHECK (trades > 0),
    wins        integer NOT NULL,
    losses      integer NOT NULL,
    r_sum       numeric NOT NULL,
    r_won       numeric NOT NULL,
    r_lost      numeric NOT NULL,
    r_squares   numeric NOT NULL,
    r_high      numeric NOT NULL,
    r_low       numeric NOT NULL,
    r_fall      numeric NOT NULL,
    held        integer[] NOT NULL,
    held_trades integer[] NOT NULL,
    last_exit   timestamptz NOT NULL,
    last_r      numeric[],
    CONSTRAINT uq_performance_headlines UNIQUE NULLS NOT DISTINCT
        (grain, heading, phase, timeframe, origin, test, name, period)
);
COMMENT ON TABLE performance_headlines IS 'Derived from performance_days and the order of trades within a day: what trades have earned under the headings most asked for, per day and per month, over all values of a column where it says all. Written by cache-builder.';
COMMENT ON COLUMN performance_headlines.period IS 'The day, or the first of the month.';
COMMENT ON COLUMN performance_headlines.name IS 'The pattern type or the sector; null under the heading all, and where a trade has none.';
COMMENT ON COLUMN performance_headlines.phase IS 'all, or A to E; under the heading sector all only.';
COMMENT ON COLUMN performance_headlines.test IS 'all; or those whose test had come by the exit (yes) or had not (no).';
COMMENT ON COLUMN performance_headlines.last_r IS 'R of the last twenty trades of the day, oldest first; of months, and where test is not all, null.';

CREATE FUNCTION mark_trades() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP IN ('INSERT', 'UPDATE') THEN
        INSERT INTO unrolled_days (day) SELECT DISTINCT new_york_day(n.exit_date) FROM new_rows n;
    END IF;
    IF TG_OP IN ('DELETE', 'UPDATE') THEN
        INSERT INTO unrolled_days (day) SELECT DISTINCT new_york_day(o.exit_date) FROM old_rows o;
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION mark_trades IS 'The day of the exit as it was and as it is; of trades that are not closed null.';
CREATE TRIGGER mark_trades_inserted AFTER INSERT ON signals REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION mark_trades();
CREATE TRIGGER mark_trades_updated AFTER UPDATE ON signals REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION mark_trades();
CREATE TRIGGER mark_trades_deleted AFTER DELETE ON signals REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION mark_trades();

CREATE FUNCTION mark_trades_of_patterns() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        INSERT INTO unrolled_days (day) SELECT DISTINCT new_york_day(s.exit_date)
        FROM old_rows o JOIN new_rows n ON n.id = o.id JOIN signals s ON s.pattern_id = n.id
        WHERE s.status = 'CLOSED'
          AND (o.phase, o.test_confirmed, o.confirmed_at) IS DISTINCT FROM (n.phase, n.test_confirmed, n.confirmed_at);
    ELSE
        INSERT INTO unrolled_days (day) SELECT DISTINCT new_york_day(s.exit_date)
        FROM rows c JOIN signals s ON s.pattern_id = c.id WHERE s.status = 'CLOSED';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION mark_trades_of_patterns IS 'Trades whose pattern came, went, or says something else of its phase or test.';
CREATE TRIGGER mark_trades_of_patterns_inserted AFTER INSERT ON patterns REFERENCING NEW TABLE AS rows
    FOR EACH STATEMENT EXECUTE FUNCTION mark_trades_of_patterns();
CREATE TRIGGER mark_trades_of_patterns_updated AFTER UPDATE ON patterns
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION mark_trades_of_patterns();
CREATE TRIGGER mark_trades_of_patterns_deleted AFTER DELETE ON patterns REFERENCING OLD TABLE AS rows
    FOR EACH STATEMENT EXECUTE FUNCTION mark_trades_of_patterns();

CREATE FUNCTION mark_trades_of_sectors() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO unrolled_days (day) VALUES (NULL);
    IF TG_OP IN ('INSERT', 'UPDATE') THEN
        INSERT INTO unrolled_days (day) SELECT DISTINCT new_york_day(s.exit_date)
        FROM new_rows n JOIN signals s ON s.symbol = n.symbol WHERE s.status = 'CLOSED';
    END IF;
    IF TG_OP IN ('DELETE', 'UPDATE') THEN
        INSERT INTO unrolled_days (day) SELECT DISTINCT new_york_day(s.exit_date)
        FROM old_rows o JOIN signals s ON s.symbol = o.symbol WHERE s.status = 'CLOSED';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION mark_trades_of_sectors IS 'Trades of symbols that may be in another sector now.';
CREATE TRIGGER mark_trades_of_sectors_inserted AFTER INSERT ON sectors REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION mark_trades_of_sectors();
CREATE TRIGGER mark_trades_of_sectors_updated AFTER UPDATE ON sectors
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION mark_trades_of_sectors();
CREATE TRIGGER mark_trades_of_sectors_deleted AFTER DELETE ON sectors REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION mark_trades_of_sectors();

CREATE FUNCTION mark_answers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO unrolled_days (day) VALUES (NULL);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION mark_answers IS 'Scores and leaders are part of answers.';
CREATE TRIGGER mark_answers AFTER INSERT OR UPDATE OR DELETE ON sector_mapping
    FOR EACH STATEMENT EXECUTE FUNCTION mark_answers();

-- What was stored before there were rollups.
INSERT INTO unrolled_days (day) SELECT DISTINCT new_york_day(exit_date) FROM signals WHERE status = 'CLOSED';
