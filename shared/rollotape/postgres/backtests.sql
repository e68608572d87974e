-- name: runs
-- The newest first, with what they came to in all.
SELECT b.id, b.rule_set, b.timeframe, b.only_symbols, b.from_ts, b.to_ts, b.symbols, b.bars, b.first_bar, b.last_bar,
       b.started_at, b.ended_at, r.patterns, r.trade_count, r.avg_r_multiple, r.null_avg_r, r.null_p
FROM backtest_runs b
JOIN backtest_results r ON r.run_id = b.id
                       AND r.kind IS NULL AND r.phase IS NULL AND r.side IS NULL AND r.sector IS NULL
ORDER BY b.ended_at DESC, b.id

-- name: named
-- Runs whose id begins like this; two are enough to know that it names none.
SELECT id FROM backtest_runs WHERE id::text LIKE $1 || '%' ORDER BY id LIMIT 2

-- name: run
SELECT * FROM backtest_runs WHERE id = $1

-- name: results
SELECT * FROM backtest_results WHERE run_id = $1

-- name: events
SELECT * FROM backtest_events WHERE run_id = $1
