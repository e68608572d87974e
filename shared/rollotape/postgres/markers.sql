-- name: window
-- The newest bar of the window, and whether newer markers are being computed.
SELECT (SELECT max(end_ts) FROM bars WHERE symbol = $1 AND timeframe = $2 AND ts BETWEEN $3 AND $4) AS as_of,
       EXISTS (SELECT FROM unread_bars WHERE symbol = $1 AND timeframe = $2) AS stale,
       EXISTS (SELECT FROM bars WHERE symbol = $1) AS known;

-- name: event
-- A status counts when it was known at the end of the window. A PS belongs to the range that its status names.
SELECT e.event_ts AS t, k.tie, e.rule_set, e.side, coalesce(e.range_id, s.range_id)::text AS range_id, e.kind, e.event_ts,
       e.confirmed_ts, e.knowable_at, e.price, e.confidence, e.terms, s.status, s.knowable_at AS status_since
FROM wyckoff_events e
CROSS JOIN LATERAL (SELECT concat_ws('|', e.rule_set, e.side, e.kind, e.range_id) COLLATE "C" AS tie) k
LEFT JOIN LATERAL (
    SELECT s.status, s.knowable_at, s.range_id FROM wyckoff_statuses s
    WHERE s.symbol = e.symbol AND s.timeframe = e.timeframe AND s.rule_set = e.rule_set AND s.side = e.side
      AND s.kind = e.kind AND s.event_ts = e.event_ts AND (e.range_id IS NULL OR s.range_id = e.range_id)
      AND s.confirmed_ts <= $4
    ORDER BY s.confirmed_ts DESC, s.status LIMIT 1
) s ON true
WHERE e.symbol = $1 AND e.timeframe = $2 AND e.confirmed_ts BETWEEN $3 AND $4 AND e.event_ts >= $3
  AND ($5::timestamptz IS NULL OR (e.event_ts, 'event', k.tie) > ($5, $6::text, $7::text))
ORDER BY e.event_ts, k.tie LIMIT $8;

-- name: range
-- Ranges that reach into the window, each as it stood at its end.
SELECT r.opened_ts AS t, r.range_id::text COLLATE "C" AS tie, r.rule_set, r.side, r.range_id::text AS range_id, r.status, r.phase, r.phases,
       r.support, r.resistance, r.unit, r.opened_ts, r.climax_ts, r.confirmed_ts, r.knowable_at
FROM (
    SELECT DISTINCT ON (range_id) * FROM wyckoff_ranges
    WHERE symbol = $1 AND timeframe = $2 AND confirmed_ts <= $4
    ORDER BY range_id, confirmed_ts DESC
) r
WHERE (r.status = 'open' OR r.confirmed_ts >= $3)
  AND ($5::timestamptz IS NULL OR (r.opened_ts, 'range', r.range_id::text COLLATE "C") > ($5, $6::text, $7::text))
ORDER BY t, tie LIMIT $8;

-- name: pattern
-- As they stand now; confirmed_at says since when a test counts.
SELECT m.t, p.id::text COLLATE "C" AS tie, p.id::text AS id, p.source, p.rule_set, p.side, p.range_id::text AS range_id, p.pattern_type, p.phase, p.status,
       p.confidence, p.entry::float8 AS entry, p.stop::float8 AS stop, p.target_1::float8 AS target_1,
       p.target_2::float8 AS target_2, p.planned_r, p.test_confirmed, p.event_ts, p.confirmed_ts, p.detected_at,
       p.confirmed_at, p.expires_at
FROM patterns p
CROSS JOIN LATERAL (SELECT coalesce(p.event_ts, p.detected_at) AS t, coalesce(p.confirmed_ts, p.detected_at) AS known) m
WHERE p.symbol = $1 AND p.timeframe = $2 AND p.detected_at >= $3 AND m.t >= $3 AND m.known <= $4
  AND ($5::timestamptz IS NULL OR (m.t, 'pattern', p.id::text COLLATE "C") > ($5, $6::text, $7::text))
ORDER BY m.t, tie LIMIT $8;

-- name: vsa
SELECT v.event_ts AS t, k.tie, v.rule_set, v.kind, v.direction, v.event_ts, v.confirmed_ts, v.knowable_at
FROM vsa_events v
CROSS JOIN LATERAL (SELECT concat_ws('|', v.rule_set, v.kind) COLLATE "C" AS tie) k
WHERE v.symbol = $1 AND v.timeframe = $2 AND v.confirmed_ts BETWEEN $3 AND $4 AND v.event_ts >= $3
  AND ($5::timestamptz IS NULL OR (v.event_ts, 'vsa', k.tie) > ($5, $6::text, $7::text))
ORDER BY v.event_ts, k.tie LIMIT $8;
