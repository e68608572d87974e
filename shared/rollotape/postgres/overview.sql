-- name: totals
-- For those who watch a stack at work. Counting reads both tables: right for a demonstration, not for a dashboard.
SELECT (SELECT count(*) FROM bars) AS bars, (SELECT count(*) FROM vsa_events) AS events

-- name: open_ranges
-- As they stand, the one that moved last first, with what was marked in it last. Minutes are left out: they would hide
-- what takes days.
WITH standing AS (
    SELECT DISTINCT ON (range_id) *
    FROM wyckoff_ranges
    WHERE timeframe <> '1m'
    ORDER BY range_id, confirmed_ts DESC
)
SELECT s.symbol, s.timeframe, s.side, s.phase, s.support, s.resistance, e.kind
FROM standing s
LEFT JOIN LATERAL (
    SELECT kind
    FROM wyckoff_events
    WHERE symbol = s.symbol AND timeframe = s.timeframe AND range_id = s.range_id
    ORDER BY confirmed_ts DESC, event_ts DESC
    LIMIT 1
) e ON true
WHERE s.status = 'open'
ORDER BY s.knowable_at DESC, s.symbol, s.timeframe, s.side

-- name: newest_minute
-- Where a simulated market goes on when it is started again.
SELECT max(end_ts) FROM bars WHERE timeframe = '1m'

-- name: has_bars
SELECT EXISTS (SELECT FROM bars)

-- name: newest_days
-- By these a simulated market recognises its own.
SELECT ts, close FROM bars WHERE symbol = $1 AND timeframe = '1d' ORDER BY ts DESC LIMIT $2
