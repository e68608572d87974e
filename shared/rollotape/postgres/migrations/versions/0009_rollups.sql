CREATE FUNCTION new_york_day(timestamptz) RETURNS date LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ($1 AT TIME ZONE 'America/New_York')::date;
COMMENT ON FUNCTION new_york_day IS 'The day that an instant belongs to: all days of analytics are those of New York.';

ALTER TABLE signals ADD COLUMN r numeric GENERATED ALWAYS AS
    (round((exit_price - entry_price) * 1.000000000000000000000000 / NULLIF(entry_price - stop, 0), 12)) STORED;
ALTER TABLE signals
    ADD CONSTRAINT chk_held_when_closed CHECK (status <> 'CLOSED' OR sessions_held IS NOT NULL AND sessions_held BETWEEN 0 AND 16000),
    ADD CONSTRAINT chk_r_when_closed CHECK (status <> 'CLOSED' OR r IS NOT NULL);
COMMENT ON COLUMN signals.sessions_held IS 'Sessions in (entry day, exit day]; null while it is not closed. At most 16,000, or the function packed would have too many digits for a number.';
COMMENT ON COLUMN signals.r IS 'realized_r as a decimal of 12 places: what all analytics add up. Digits beyond are cut by rounding half away from zero.';

CREATE INDEX idx_signals_analytics ON signals (pattern_type, exit_date, id) WHERE status = 'CLOSED';
CREATE INDEX idx_signals_exit_date ON signals (exit_date, id) WHERE status = 'CLOSED';
CREATE INDEX idx_signals_pattern ON signals (pattern_id);
CREATE INDEX idx_signals_going ON signals (generated_at, id) WHERE status <> 'CLOSED';

CREATE INDEX idx_patterns_detected_at ON patterns (detected_at);

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
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    day        date,
    pattern_id uuid,
    symbol     text COLLATE "C",
    marked_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE unrolled_days IS 'Marks: trades closed on this day of New York changed, or what is known of their pattern or symbol did, and the rollups of their days are due. Written by triggers, in the transaction that changed it; taken by cache-builder.';
COMMENT ON COLUMN unrolled_days.day IS 'Of the exit. Null without pattern and symbol: no rollup is due, but answers changed (a trade that goes on, a score, a leader).';
COMMENT ON COLUMN unrolled_days.pattern_id IS 'Its trades are looked up when the mark is taken: one that is just being written could not be seen from here.';
COMMENT ON COLUMN unrolled_days.symbol IS 'The same for the trades of a symbol that may be in another sector now.';

CREATE TABLE generations (
    dataset    text COLLATE "C" PRIMARY KEY,
    generation bigint NOT NULL DEFAULT 0 CHECK (generation >= 0),
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE generations IS 'How often the answers of a dataset changed; counted up in the transaction that changes them, and part of every key under which an answer is kept.';
INSERT INTO generations (dataset) VALUES ('analytics');

CREATE FUNCTION packed(held integer[], held_trades integer[]) RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (SELECT coalesce(sum((trades || repeat('0', 8 * sessions))::numeric), 0) FROM unnest(held, held_trades) AS h(sessions, trades));
COMMENT ON FUNCTION packed IS 'Trades by sessions held as one number, eight digits for each number of sessions, so that many of them are added up by one sum.';

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
    held_packed    numeric GENERATED ALWAYS AS (packed(held, held_trades)) STORED,
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
    held_packed numeric GENERATED ALWAYS AS (packed(held, held_trades)) STORED,
    CONSTRAINT uq_performance_headlines UNIQUE NULLS NOT DISTINCT
        (grain, heading, phase, timeframe, origin, test, period, name) INCLUDE (trades)
);
CREATE INDEX idx_performance_headlines_period ON performance_headlines (period);
COMMENT ON TABLE performance_headlines IS 'Derived from performance_days and the order of trades within a day: what trades have earned under the headings most asked for, per day and per month, over all values of a column where it says all. Written by cache-builder.';
COMMENT ON COLUMN performance_headlines.period IS 'The day, or the first of the month.';
COMMENT ON COLUMN performance_headlines.name IS 'The pattern type or the sector; null under the heading all, and where a trade has none.';
COMMENT ON COLUMN performance_headlines.phase IS 'all, or A to E; under the heading sector all only.';
COMMENT ON COLUMN performance_headlines.test IS 'all; or those whose test had come by the exit (yes) or had not (no).';
COMMENT ON COLUMN performance_headlines.last_r IS 'R of the last twenty trades of the day, oldest first; of months, and where test is not all, null.';

CREATE FUNCTION mark_trades() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO unrolled_days (day) SELECT DISTINCT new_york_day(exit_date) FROM new_rows;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO unrolled_days (day) SELECT DISTINCT new_york_day(exit_date) FROM old_rows;
    ELSE
        INSERT INTO unrolled_days (day)
        SELECT new_york_day(exit_date) FROM old_rows UNION SELECT new_york_day(exit_date) FROM new_rows;
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

CREATE FUNCTION mark_patterns() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO unrolled_days (pattern_id) SELECT id FROM new_rows;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO unrolled_days (pattern_id) SELECT id FROM old_rows;
    ELSE
        INSERT INTO unrolled_days (pattern_id)
        SELECT coalesce(n.id, o.id) FROM old_rows o FULL JOIN new_rows n USING (id)
        WHERE (o.id, o.phase, o.test_confirmed, o.confirmed_at)
              IS DISTINCT FROM (n.id, n.phase, n.test_confirmed, n.confirmed_at);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION mark_patterns IS 'Patterns that came, went, or say something else of their phase or test.';
CREATE TRIGGER mark_patterns_inserted AFTER INSERT ON patterns REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION mark_patterns();
CREATE TRIGGER mark_patterns_updated AFTER UPDATE ON patterns REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION mark_patterns();
CREATE TRIGGER mark_patterns_deleted AFTER DELETE ON patterns REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION mark_patterns();

CREATE FUNCTION mark_sectors() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO unrolled_days (day) VALUES (NULL);
    IF TG_OP = 'INSERT' THEN
        INSERT INTO unrolled_days (symbol) SELECT symbol FROM new_rows;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO unrolled_days (symbol) SELECT symbol FROM old_rows;
    ELSE
        INSERT INTO unrolled_days (symbol)
        SELECT coalesce(n.symbol, o.symbol) FROM old_rows o FULL JOIN new_rows n USING (symbol)
        WHERE (o.symbol, o.sector, o.kind) IS DISTINCT FROM (n.symbol, n.sector, n.kind);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION mark_sectors IS 'Symbols that may be in another sector now.';
CREATE TRIGGER mark_sectors_inserted AFTER INSERT ON sectors REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION mark_sectors();
CREATE TRIGGER mark_sectors_updated AFTER UPDATE ON sectors REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION mark_sectors();
CREATE TRIGGER mark_sectors_deleted AFTER DELETE ON sectors REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION mark_sectors();

CREATE FUNCTION mark_answers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO unrolled_days (day) VALUES (NULL);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION mark_answers IS 'Scores and leaders are part of answers.';
CREATE TRIGGER mark_answers AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON sector_mapping
    FOR EACH STATEMENT EXECUTE FUNCTION mark_answers();

CREATE FUNCTION mark_everything() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO unrolled_days (day)
    SELECT NULL
    UNION ALL
    SELECT period FROM performance_headlines
    WHERE grain = 'day' AND heading = 'all' AND phase = 'all' AND timeframe = 'all' AND origin = 'all' AND test = 'all';
    RETURN NULL;
END $$;
COMMENT ON FUNCTION mark_everything IS 'Every day that has rollups: of a table that is emptied nobody is told which rows it had.';
CREATE TRIGGER mark_everything AFTER TRUNCATE ON signals FOR EACH STATEMENT EXECUTE FUNCTION mark_everything();
CREATE TRIGGER mark_everything AFTER TRUNCATE ON patterns FOR EACH STATEMENT EXECUTE FUNCTION mark_everything();
CREATE TRIGGER mark_everything AFTER TRUNCATE ON sectors FOR EACH STATEMENT EXECUTE FUNCTION mark_everything();

-- What was stored before there were rollups.
INSERT INTO unrolled_days (day) SELECT DISTINCT new_york_day(exit_date) FROM signals WHERE status = 'CLOSED';
