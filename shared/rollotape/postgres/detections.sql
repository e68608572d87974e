-- name: detections
-- Patterns of one symbol by their detection, along the index of its patterns. $2 the start of the window, null:
-- everything; $3 types, $4 timeframes, null: any; $5, $6 detected_at and id after which the page begins; $7 its size.
-- Those that a scan may show are looked up one by one: a page has few of them.
SELECT p.id, p.symbol, p.pattern_type, p.timeframe, p.side, p.phase, p.status, p.confidence, p.price, p.entry, p.stop,
       p.target_1, p.target_2, p.planned_r, p.test_confirmed, p.detected_at, p.confirmed_at, p.expires_at, p.source, p.rule_set,
       p.status = 'active' AND CASE WHEN p.confirmed_ts IS NULL THEN p.expires_at > statement_timestamp()
           ELSE p.expires_at >= (SELECT max(n.end_ts) FROM newest_bars n WHERE n.timeframe = p.timeframe) END AS is_active
FROM patterns p
WHERE p.symbol = $1 AND ($2::timestamptz IS NULL OR p.detected_at >= $2)
  AND ($3::text[] IS NULL OR p.pattern_type = ANY ($3))
  AND ($4::text[] IS NULL OR p.timeframe = ANY ($4))
  AND ($5::timestamptz IS NULL OR (p.detected_at, p.id) < ($5, $6::uuid))
ORDER BY p.detected_at DESC, p.id DESC
LIMIT $7

-- name: now
SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint

-- name: knows
-- A symbol is known by a bar, by what somebody said of it, or by a pattern of somebody's.
SELECT EXISTS (SELECT FROM symbol_state WHERE symbol = $1) OR EXISTS (SELECT FROM sectors WHERE symbol = $1)
    OR EXISTS (SELECT FROM patterns WHERE symbol = $1)
