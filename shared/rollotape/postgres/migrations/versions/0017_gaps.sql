CREATE TABLE unaudited_bars (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    symbol    text COLLATE "C" NOT NULL,
    timeframe text COLLATE "C" NOT NULL,
    first_ts  timestamptz NOT NULL,
    last_ts   timestamptz NOT NULL
);
COMMENT ON TABLE unaudited_bars IS 'Marks: bars between these times came or changed, and nobody has looked since whether any are missing there. The queue of the auditor. Written by detector; taken by cache-builder.';

CREATE TABLE audited_series (
    symbol    text COLLATE "C" NOT NULL,
    timeframe text COLLATE "C" NOT NULL,
    until     timestamptz NOT NULL,
    followed  boolean NOT NULL,
    PRIMARY KEY (symbol, timeframe)
);
CREATE INDEX idx_audited_series_due ON audited_series (timeframe, until) WHERE followed;
COMMENT ON TABLE audited_series IS 'Derived: up to when the stored bars of a series were compared with those expected. Written by cache-builder.';
COMMENT ON COLUMN audited_series.followed IS 'Whether a bar came within the last five sessions before; nothing is expected of the others until they have one again.';

CREATE TABLE gaps (
    symbol      text COLLATE "C" NOT NULL,
    timeframe   text COLLATE "C" NOT NULL,
    first_ts    timestamptz NOT NULL,
    last_ts     timestamptz NOT NULL,
    bars        integer NOT NULL CHECK (bars > 0),
    kind        text COLLATE "C" NOT NULL CHECK (kind IN ('gap', 'pause')),
    found_at    timestamptz NOT NULL DEFAULT now(),
    next_ask_at timestamptz NOT NULL,
    asks        integer NOT NULL DEFAULT 0,
    asked_at    timestamptz,
    asked_of    text,
    answer      text COLLATE "C" CHECK (answer IN ('sent', 'nothing', 'unknown')),
    PRIMARY KEY (symbol, timeframe, first_ts)
);
CREATE INDEX idx_gaps_due ON gaps (next_ask_at) WHERE kind = 'gap' AND answer IS DISTINCT FROM 'nothing';
COMMENT ON TABLE gaps IS 'Derived from bars and the calendar: runs of missing bars, each a request to those who may have them. Written by cache-builder; by producers what they answered.';
COMMENT ON COLUMN gaps.first_ts IS 'Start of the first missing bar.';
COMMENT ON COLUMN gaps.last_ts IS 'Start of the last missing bar.';
COMMENT ON COLUMN gaps.bars IS 'How many the calendar expects there.';
COMMENT ON COLUMN gaps.kind IS 'pause: longer than twenty sessions, in which nobody followed the series; nobody is asked.';
COMMENT ON COLUMN gaps.next_ask_at IS 'A producer may take the request from then on; who has taken it and says nothing loses it after some minutes.';
COMMENT ON COLUMN gaps.asks IS 'How often it was answered.';
COMMENT ON COLUMN gaps.answer IS 'Of the producer that was asked last: bars were sent, nothing traded then, or it cannot tell.';

INSERT INTO unaudited_bars (symbol, timeframe, first_ts, last_ts)
SELECT s.symbol, t.timeframe, '-infinity', 'infinity'
FROM symbol_state s CROSS JOIN unnest(ARRAY['1m', '5m', '15m', '30m', '1h', '4h', '1d', '1w']) AS t(timeframe)
WHERE EXISTS (SELECT FROM bars b WHERE b.symbol = s.symbol AND b.timeframe = t.timeframe);
