-- name: totals
-- For those who watch a stack at work. Counting reads both tables: right for a demonstration, not for a dashboard.
SELECT (SELECT count(*) FROM bars) AS bars, (SELECT count(*) FROM vsa_events) AS events

-- name: newest_events
-- The newest events of the finest timeframe that has any, so that old days do not hide new minutes.
SELECT symbol, timeframe, rule_set, kind, direction, event_ts, knowable_at
FROM vsa_events
ORDER BY timeframe <> '1m', knowable_at DESC, symbol, rule_set, kind
LIMIT $1

-- name: newest_minute
-- Where a simulated market goes on when it is started again.
SELECT max(end_ts) FROM bars WHERE timeframe = '1m'

-- name: has_bars
SELECT EXISTS (SELECT FROM bars)

-- name: newest_days
-- By these a simulated market recognises its own.
SELECT ts, close FROM bars WHERE symbol = $1 AND timeframe = '1d' ORDER BY ts DESC LIMIT $2
