CREATE TABLE unread_bars (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    symbol    text COLLATE "C" NOT NULL,
    timeframe text COLLATE "C" NOT NULL,
    first_ts  timestamptz NOT NULL,
    last_ts   timestamptz NOT NULL,
    marked_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX idx_unread_bars_symbol ON unread_bars (symbol);
COMMENT ON TABLE unread_bars IS 'Marks: bars of this symbol changed from first_ts to last_ts, and what Wyckoff reads in them is due. The queue of the readers. Written by detector.';

CREATE TABLE newest_bars (
    timeframe text COLLATE "C" NOT NULL,
    end_ts    timestamptz NOT NULL
);
COMMENT ON TABLE newest_bars IS 'The greatest end_ts of a timeframe is that of its newest bar, whatever the symbol: the clock by which own patterns expire. Only ever grows; rows below the greatest say nothing. Written by detector.';

CREATE TABLE wyckoff_events (
    symbol       text COLLATE "C" NOT NULL,
    timeframe    text COLLATE "C" NOT NULL,
    rule_set     text COLLATE "C" NOT NULL,
    side         text COLLATE "C" NOT NULL CHECK (side IN ('accumulation', 'distribution')),
    range_id     uuid,
    kind         text COLLATE "C" NOT NULL,
    event_ts     timestamptz NOT NULL,
    confirmed_ts timestamptz NOT NULL,
    knowable_at  timestamptz NOT NULL,
    price        double precision NOT NULL,
    confidence   double precision NOT NULL CHECK (confidence BETWEEN 0 AND 1),
    terms        jsonb NOT NULL,
    CONSTRAINT uq_wyckoff_events UNIQUE NULLS NOT DISTINCT
        (symbol, timeframe, rule_set, side, range_id, kind, event_ts)
);
CREATE INDEX idx_wyckoff_events_symbol_confirmed ON wyckoff_events (symbol, timeframe, confirmed_ts);
COMMENT ON TABLE wyckoff_events IS 'Derived from bars: what a Wyckoff analyst would mark. Written by detector.';
COMMENT ON COLUMN wyckoff_events.range_id IS 'Null for PS and PSY: the confirming row of wyckoff_statuses names their range.';
COMMENT ON COLUMN wyckoff_events.event_ts IS 'Start of the bar that the event describes.';
COMMENT ON COLUMN wyckoff_events.confirmed_ts IS 'Start of the bar at which the event became knowable.';
COMMENT ON COLUMN wyckoff_events.knowable_at IS 'end_ts of the confirming bar.';
COMMENT ON COLUMN wyckoff_events.price IS 'The extreme of the bar described; of SOS and SOW its close.';
COMMENT ON COLUMN wyckoff_events.terms IS 'What the confidence is made of: each term by its name, 0 to 1; the weights stand in the rule set.';

CREATE TABLE wyckoff_statuses (
    symbol       text COLLATE "C" NOT NULL,
    timeframe    text COLLATE "C" NOT NULL,
    rule_set     text COLLATE "C" NOT NULL,
    side         text COLLATE "C" NOT NULL CHECK (side IN ('accumulation', 'distribution')),
    range_id     uuid,
    kind         text COLLATE "C" NOT NULL,
    event_ts     timestamptz NOT NULL,
    status       text COLLATE "C" NOT NULL CHECK (status IN ('confirmed', 'expired', 'superseded', 'test_passed')),
    confirmed_ts timestamptz NOT NULL,
    knowable_at  timestamptz NOT NULL,
    CONSTRAINT uq_wyckoff_statuses UNIQUE NULLS NOT DISTINCT
        (symbol, timeframe, rule_set, side, kind, event_ts, range_id, status)
);
CREATE INDEX idx_wyckoff_statuses_symbol_confirmed ON wyckoff_statuses (symbol, timeframe, confirmed_ts);
COMMENT ON TABLE wyckoff_statuses IS 'Derived from bars: what became of an event, each change a fact of its own. Written by detector.';
COMMENT ON COLUMN wyckoff_statuses.range_id IS 'Of the event; of a confirmed PS or PSY the range that confirms it.';

CREATE TABLE wyckoff_ranges (
    range_id     uuid NOT NULL,
    confirmed_ts timestamptz NOT NULL,
    symbol       text COLLATE "C" NOT NULL,
    timeframe    text COLLATE "C" NOT NULL,
    rule_set     text COLLATE "C" NOT NULL,
    side         text COLLATE "C" NOT NULL CHECK (side IN ('accumulation', 'distribution')),
    opened_ts    timestamptz NOT NULL,
    climax_ts    timestamptz NOT NULL,
    knowable_at  timestamptz NOT NULL,
    status       text COLLATE "C" NOT NULL CHECK (status IN ('open', 'completed', 'failed', 'expired', 'abandoned')),
    phase        text COLLATE "C" NOT NULL CHECK (phase IN ('A', 'B', 'C', 'D', 'E')),
    phases       jsonb NOT NULL,
    support      double precision,
    resistance   double precision,
    unit         double precision NOT NULL,
    PRIMARY KEY (range_id, confirmed_ts)
);
CREATE INDEX idx_wyckoff_ranges_symbol_confirmed ON wyckoff_ranges (symbol, timeframe, confirmed_ts);
COMMENT ON TABLE wyckoff_ranges IS 'Derived from bars: a range as it stood after each bar that changed it; the row with the greatest confirmed_ts is how it stands. A chart of any past day needs the others. Written by detector.';
COMMENT ON COLUMN wyckoff_ranges.opened_ts IS 'Its first climax, by which its id is made.';
COMMENT ON COLUMN wyckoff_ranges.phases IS 'Every phase reached, with the start of the bar at which that was known, in microseconds since 1970.';
COMMENT ON COLUMN wyckoff_ranges.unit IS 'U in natural logarithms: the mean true range at its climax.';

CREATE TABLE wyckoff_states (
    symbol    text COLLATE "C" NOT NULL,
    timeframe text COLLATE "C" NOT NULL,
    rule_set  text COLLATE "C" NOT NULL,
    ts        timestamptz NOT NULL,
    state     bytea NOT NULL,
    PRIMARY KEY (symbol, timeframe, rule_set, ts)
);
COMMENT ON TABLE wyckoff_states IS 'Derived from bars: where the fold stood after some bars, so that a late one need not be read from the beginning of time. Equal bytes are the same situation. Written by detector.';

ALTER TABLE patterns ADD COLUMN event_ts timestamptz;
ALTER TABLE patterns ADD COLUMN confirmed_ts timestamptz;
ALTER TABLE patterns ADD COLUMN preliminary_events_in_range jsonb;
COMMENT ON TABLE patterns IS 'Of outside sources an input: the state of every pattern, the greatest (expired, revision, hash) of its events. Of the source rollo derived from bars. Written by detector.';
COMMENT ON COLUMN patterns.status IS 'Of outside sources: expired is final; an active pattern is over when its expires_at has passed. Of rollo: expired from the 20th later bar on; an active pattern is over when the newest bar of its timeframe is past its expires_at.';
COMMENT ON COLUMN patterns.confirmed_at IS 'As its sender says; of rollo, when its test was passed.';
COMMENT ON COLUMN patterns.event_ts IS 'Of rollo: start of the bar that the pattern describes.';
COMMENT ON COLUMN patterns.confirmed_ts IS 'Of rollo: start of the bar at which it became knowable; its end is detected_at.';
COMMENT ON COLUMN patterns.preliminary_events IS 'Derived: Wyckoff events of its side known in the 30 days before detected_at that had not lost their standing by then. Null for outside sources.';
COMMENT ON COLUMN patterns.preliminary_events_in_range IS 'The same within its range, however old that is.';

CREATE INDEX idx_patterns_own_expiry ON patterns (timeframe, expires_at) WHERE status = 'active' AND confirmed_ts IS NOT NULL;

CREATE FUNCTION active_patterns() RETURNS SETOF patterns LANGUAGE sql STABLE AS $$
    SELECT p.* FROM patterns p
    WHERE p.status = 'active' AND p.confirmed_ts IS NULL AND p.expires_at > statement_timestamp()
    UNION ALL
    SELECT p.* FROM (SELECT n.timeframe, max(n.end_ts) AS end_ts FROM newest_bars n GROUP BY n.timeframe) n
    JOIN patterns p ON p.timeframe = n.timeframe AND p.expires_at >= n.end_ts
    WHERE p.status = 'active' AND p.confirmed_ts IS NOT NULL
$$;
COMMENT ON FUNCTION active_patterns IS 'Patterns that are not over: those of outside sources by the clock, our own by the newest bar of their timeframe.';

CREATE TABLE signals (
    id            uuid PRIMARY KEY,
    origin        text COLLATE "C" NOT NULL CHECK (origin IN ('external', 'paper')),
    source        text NOT NULL,
    revision      bigint NOT NULL DEFAULT 0 CHECK (revision >= 0),
    hash          bigint NOT NULL DEFAULT 0,
    symbol        text COLLATE "C" NOT NULL,
    timeframe     text COLLATE "C" NOT NULL,
    pattern_id    uuid,
    pattern_type  text COLLATE "C",
    direction     text COLLATE "C" NOT NULL CHECK (direction IN ('long', 'short')),
    status        text COLLATE "C" NOT NULL CHECK (status IN ('PENDING', 'OPEN', 'CLOSED', 'CANCELLED')),
    generated_at  timestamptz NOT NULL,
    changed_at    timestamptz NOT NULL,
    entry_date    timestamptz,
    entry_price   numeric(18, 8),
    entry_session date,
    stop          numeric(18, 8) NOT NULL,
    target        numeric(18, 8),
    planned_r     double precision,
    bars_held     integer CHECK (bars_held >= 0),
    exit_date     timestamptz,
    exit_price    numeric(18, 8),
    exit_session  date,
    exit_reason   text COLLATE "C",
    realized_r    double precision,
    CONSTRAINT chk_exit_fields_together CHECK ((exit_date IS NULL) = (exit_price IS NULL)),
    CONSTRAINT chk_exit_when_closed CHECK ((status = 'CLOSED') = (exit_date IS NOT NULL)),
    CONSTRAINT chk_entry_fields_together CHECK ((entry_date IS NULL) = (entry_price IS NULL))
);
CREATE INDEX idx_signals_symbol_generated_at ON signals (symbol, generated_at);
COMMENT ON TABLE signals IS 'Trades. Of origin paper derived: an own pattern followed on later bars to its end. Of origin external an input. Never mixed in one figure unless asked. Written by detector.';
COMMENT ON COLUMN signals.pattern_id IS 'No foreign key: a trade and its pattern may arrive in either order.';
COMMENT ON COLUMN signals.generated_at IS 'Of paper: detected_at of its pattern.';
COMMENT ON COLUMN signals.changed_at IS 'When its status became known: the end of that bar.';
COMMENT ON COLUMN signals.entry_session IS 'Session day of the entry bar: holding is counted in sessions.';
COMMENT ON COLUMN signals.bars_held IS 'Bars from the entry bar on, the exit bar included.';
COMMENT ON COLUMN signals.exit_reason IS 'Of paper: stop, target, time, or beyond when it was cancelled.';
COMMENT ON COLUMN signals.realized_r IS '(exit - entry) / (entry - stop), for long and short.';

-- What was stored before there were readers is unread.
INSERT INTO newest_bars (timeframe, end_ts) SELECT timeframe, max(end_ts) FROM bars GROUP BY timeframe;
INSERT INTO unread_bars (symbol, timeframe, first_ts, last_ts)
SELECT symbol, timeframe, min(ts), max(ts) FROM bars GROUP BY symbol, timeframe ORDER BY symbol, timeframe;
