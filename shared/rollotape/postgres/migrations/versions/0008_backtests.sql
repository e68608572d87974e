CREATE TABLE backtest_runs (
    id           uuid PRIMARY KEY,
    rule_set     text COLLATE "C" NOT NULL,
    parameters   jsonb NOT NULL CHECK (parameters ? 'version'),
    timeframe    text COLLATE "C" NOT NULL,
    only_symbols text[] COLLATE "C",
    from_ts      timestamptz,
    to_ts        timestamptz,
    turns        integer NOT NULL CHECK (turns >= 0),
    seed         bigint NOT NULL,
    started_at   timestamptz NOT NULL,
    ended_at     timestamptz NOT NULL,
    symbols      integer NOT NULL,
    bars         bigint NOT NULL,
    first_bar    timestamptz,
    last_bar     timestamptz,
    null_dates   integer,
    null_any_p   double precision CHECK (null_any_p BETWEEN 0 AND 1),
    CONSTRAINT chk_dates_when_turned CHECK ((turns > 0) = (null_dates IS NOT NULL))
);
COMMENT ON TABLE backtest_runs IS 'Backtests that came to their end. A record of what was found then: bars that change later change nothing in it. Written by rollo backtest.';
COMMENT ON COLUMN backtest_runs.rule_set IS 'Name of the rules, which is the version of their values: wyckoff-2+fail=5/2 is wyckoff-2 with one changed.';
COMMENT ON COLUMN backtest_runs.parameters IS 'Every value of the rules. `version` is that of this form, so that rows of any age can be read.';
COMMENT ON COLUMN backtest_runs.only_symbols IS 'The symbols asked for; null: all that were stored.';
COMMENT ON COLUMN backtest_runs.from_ts IS 'Patterns confirmed then or later; null: all.';
COMMENT ON COLUMN backtest_runs.to_ts IS 'Bars that start before; null: all.';
COMMENT ON COLUMN backtest_runs.turns IS 'Of the calendar, to compare with; 0: chance was left out.';
COMMENT ON COLUMN backtest_runs.symbols IS 'With at least one analysed bar; `bars`: those that were read.';
COMMENT ON COLUMN backtest_runs.null_dates IS 'Around so many the calendar was turned.';
COMMENT ON COLUMN backtest_runs.null_any_p IS 'The smallest p of all types, times their number; null where no type could be judged.';

CREATE TABLE backtest_results (
    run_id                  uuid NOT NULL REFERENCES backtest_runs ON DELETE CASCADE,
    kind                    text COLLATE "C",
    phase                   text COLLATE "C",
    side                    text COLLATE "C",
    sector                  text COLLATE "C",
    patterns                integer NOT NULL,
    cancelled               integer NOT NULL,
    unfinished              integer NOT NULL,
    trade_count             integer NOT NULL,
    wins                    integer NOT NULL,
    losses                  integer NOT NULL,
    breakeven               integer NOT NULL,
    win_rate                double precision,
    win_rate_ex_breakeven   double precision,
    win_rate_low            double precision,
    win_rate_high           double precision,
    low_sample              boolean NOT NULL,
    profit_factor           double precision,
    profit_factor_state     text COLLATE "C",
    avg_r_multiple          double precision,
    max_drawdown_r          double precision,
    max_drawdown_state      text COLLATE "C",
    avg_holding_sessions    double precision,
    median_holding_sessions double precision,
    sqn                     double precision,
    test_confirmed          jsonb,
    test_unconfirmed        jsonb,
    null_trade_count        integer,
    null_own_avg_r          double precision,
    null_avg_r              double precision,
    null_low                double precision,
    null_high               double precision,
    null_p                  double precision CHECK (null_p BETWEEN 0 AND 1),
    CONSTRAINT uq_backtest_results UNIQUE NULLS NOT DISTINCT (run_id, kind, phase, side, sector),
    CONSTRAINT chk_every_trade_ended_somehow CHECK (wins + losses + breakeven = trade_count),
    CONSTRAINT chk_every_pattern_has_a_trade CHECK (trade_count + cancelled + unfinished = patterns)
);
COMMENT ON TABLE backtest_results IS 'What the paper trades of a backtest came to: in all, by type, by phase, by side, by sector, and by type, phase and sector together. Written by rollo backtest.';
COMMENT ON COLUMN backtest_results.kind IS 'Type of the patterns; null, here and in the next three: all of them.';
COMMENT ON COLUMN backtest_results.sector IS 'As of the run; unknown where nobody said.';
COMMENT ON COLUMN backtest_results.trade_count IS 'Closed trades, over which all figures are; the other patterns were cancelled at the open or are unfinished.';
COMMENT ON COLUMN backtest_results.win_rate_low IS 'With win_rate_high the interval of Wilson, 95 %.';
COMMENT ON COLUMN backtest_results.test_confirmed IS 'The figures over patterns whose test had come by the exit; test_unconfirmed: over those whose test had not.';
COMMENT ON COLUMN backtest_results.null_trade_count IS 'Trades that could be held against chance; this and what follows is there by type and in all.';
COMMENT ON COLUMN backtest_results.null_own_avg_r IS 'Mean R of these at their own dates; null_avg_r: at turned ones, 95 of 100 turns between null_low and null_high.';
COMMENT ON COLUMN backtest_results.null_p IS 'Share of the turns, the real dates counted as one, that earned at least as much.';

CREATE TABLE backtest_events (
    run_id uuid NOT NULL REFERENCES backtest_runs ON DELETE CASCADE,
    side   text COLLATE "C" NOT NULL CHECK (side IN ('accumulation', 'distribution')),
    kind   text COLLATE "C" NOT NULL,
    events integer NOT NULL CHECK (events >= 0),
    PRIMARY KEY (run_id, side, kind)
);
COMMENT ON TABLE backtest_events IS 'How many events of each kind a backtest saw; a kind of which there were none has a 0. Written by rollo backtest.';
