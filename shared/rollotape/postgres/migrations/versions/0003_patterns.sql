CREATE TABLE patterns (
    id                 uuid PRIMARY KEY,
    source             text NOT NULL,
    symbol             text COLLATE "C" NOT NULL,
    timeframe          text COLLATE "C" NOT NULL,
    pattern_type       text COLLATE "C" NOT NULL,
    side               text CHECK (side IN ('accumulation', 'distribution')),
    phase              text CHECK (phase IN ('A', 'B', 'C', 'D', 'E')),
    status             text NOT NULL CHECK (status IN ('active', 'expired')),
    revision           bigint NOT NULL CHECK (revision >= 0),
    hash               bigint NOT NULL,
    confidence         double precision NOT NULL CHECK (confidence BETWEEN 0 AND 1),
    price              double precision,
    change_pct         double precision,
    vol_ratio          double precision,
    rsi                double precision CHECK (rsi BETWEEN 0 AND 100),
    sma_20             double precision,
    sma_50             double precision,
    rs_ratio           double precision,
    rs_excess          double precision,
    entry              numeric(18, 8),
    stop               numeric(18, 8),
    target_1           numeric(18, 8),
    target_2           numeric(18, 8),
    planned_r          double precision,
    test_confirmed     boolean,
    range_id           uuid,
    rule_set           text,
    detected_at        timestamptz NOT NULL,
    confirmed_at       timestamptz,
    expires_at         timestamptz NOT NULL,
    vsa_events         jsonb,
    vsa_events_classic jsonb,
    preliminary_events jsonb
);
CREATE INDEX idx_patterns_symbol_detection ON patterns (symbol, timeframe, detected_at);
CREATE INDEX idx_patterns_active_expiry ON patterns (expires_at) WHERE status = 'active';
COMMENT ON TABLE patterns IS 'The input: the state of every pattern, the greatest (expired, revision, hash) of its events. Written by detector.';
COMMENT ON COLUMN patterns.status IS 'expired is final; an active pattern is over when its expires_at has passed.';
COMMENT ON COLUMN patterns.rs_ratio IS 'As its sender says, as rs_excess; readers prefer our own strength.';
COMMENT ON COLUMN patterns.vsa_events IS 'Derived: volume-spread events of seed-1 known within the 30 days up to detected_at. Null where its own bar cannot be judged.';
COMMENT ON COLUMN patterns.vsa_events_classic IS 'Derived: the same under classic-1.';
COMMENT ON COLUMN patterns.preliminary_events IS 'Derived from Wyckoff events; null while none are recognised.';
