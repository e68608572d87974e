CREATE TABLE sectors (
    symbol   text COLLATE "C" PRIMARY KEY,
    name     text,
    sector   text COLLATE "C",
    industry text,
    kind     text COLLATE "C" NOT NULL DEFAULT 'stock' CHECK (kind IN ('stock', 'etf', 'benchmark'))
);
COMMENT ON TABLE sectors IS 'An input: what a symbol is. A symbol that is not here is a stock without a sector. Seeded when the schema is made, written by rollo import-sectors.';
COMMENT ON COLUMN sectors.kind IS 'Funds and benchmarks are never scored, rated or ranked.';

ALTER TABLE dirty_symbols ADD COLUMN last_ts timestamptz NOT NULL DEFAULT 'infinity';
COMMENT ON TABLE dirty_symbols IS 'Marks: bars of this symbol changed from first_ts to last_ts; infinite ends say that everything about it did. The queue of rs-worker. Written by detector and rollo import-sectors.';

CREATE TABLE rs_dates (
    as_of   date PRIMARY KEY,
    version bigint NOT NULL
);
COMMENT ON TABLE rs_dates IS 'Every date that was ever due, and how often its scores changed; locked while they are computed. The date infinity stands for sector_mapping. Written by rs-worker.';

CREATE TABLE dirty_dates (
    id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    as_of date NOT NULL
);
CREATE INDEX idx_dirty_dates_as_of ON dirty_dates (as_of);
COMMENT ON TABLE dirty_dates IS 'Marks expanded: the scores of this date are due. A date may stand here more than once. Written by rs-worker.';

CREATE TABLE rs_scores (
    as_of             date NOT NULL,
    symbol            text COLLATE "C" NOT NULL,
    rs_score          double precision,
    excess_21         double precision,
    excess_63         double precision,
    excess_126        double precision,
    excess_252        double precision,
    sector_excess_30d double precision,
    sector_excess_21  double precision,
    sector_excess_63  double precision,
    sector_excess_126 double precision,
    sector_excess_252 double precision,
    rs_ratio          double precision,
    rs_ratio_21       double precision,
    rs_ratio_63       double precision,
    rs_ratio_126      double precision,
    rs_ratio_252      double precision,
    mansfield         double precision,
    rating            smallint CHECK (rating BETWEEN 1 AND 99),
    sector_rank       integer CHECK (sector_rank > 0),
    is_sector_leader  boolean NOT NULL,
    market_status     text COLLATE "C" NOT NULL,
    sector_status     text COLLATE "C" NOT NULL,
    PRIMARY KEY (as_of, symbol)
);
CREATE INDEX idx_rs_scores_symbol_as_of ON rs_scores (symbol, as_of);
COMMENT ON TABLE rs_scores IS 'Derived from daily bars and sectors: relative strength of every stock on every date it has a bar on. Written by rs-worker.';
COMMENT ON COLUMN rs_scores.rs_score IS 'Excess return over 30 calendar days against SPY, in percentage points.';
COMMENT ON COLUMN rs_scores.sector_rank IS 'By rs_score among the members of the sector that have one, also those without a bar that day; equals share a rank.';
COMMENT ON COLUMN rs_scores.market_status IS 'One letter for each of 30d 21 63 126 252 against SPY: o ok, i insufficient_history, s stale, n no_benchmark.';
COMMENT ON COLUMN rs_scores.sector_status IS 'The same against the fund of the sector.';

CREATE TABLE sector_mapping (
    symbol           text COLLATE "C" PRIMARY KEY,
    sector           text COLLATE "C",
    etf              text COLLATE "C",
    as_of            date,
    rs_score         double precision,
    rank             integer CHECK (rank > 0),
    is_sector_leader boolean NOT NULL,
    updated_at       timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE sector_mapping IS 'Derived: every stock, its sector, and where it stands as of the newest date on which any stock has a bar. Written by rs-worker.';
COMMENT ON COLUMN sector_mapping.updated_at IS 'When this row last changed.';

-- What was stored before there were scores is due now.
INSERT INTO dirty_symbols (symbol, timeframe, first_ts, last_ts)
SELECT symbol, '1d', '-infinity', 'infinity' FROM symbol_state;

-- The mapping is due as well: it lists the stocks that a table knows, before the first bar.
INSERT INTO rs_dates (as_of, version) VALUES ('infinity', 0);
INSERT INTO dirty_dates (as_of) VALUES ('infinity');
