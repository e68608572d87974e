-- name: bars
-- In the order of the primary key, whose text is COLLATE "C". float8 prints the shortest decimal that
-- reads back as the same number; times are ISO 8601 in UTC.
SELECT symbol, timeframe, replace((ts AT TIME ZONE 'UTC')::text, ' ', 'T') || 'Z' AS ts,
       open, high, low, close, volume, revision
FROM bars AS b
ORDER BY b.symbol, b.timeframe, b.ts

-- name: vsa_events
SELECT symbol, timeframe, rule_set, kind, direction,
       replace((event_ts AT TIME ZONE 'UTC')::text, ' ', 'T') || 'Z' AS event_ts,
       replace((confirmed_ts AT TIME ZONE 'UTC')::text, ' ', 'T') || 'Z' AS confirmed_ts,
       replace((knowable_at AT TIME ZONE 'UTC')::text, ' ', 'T') || 'Z' AS knowable_at
FROM vsa_events AS e
ORDER BY e.symbol, e.timeframe, e.rule_set, e.kind, e.event_ts

-- name: wyckoff_events
-- A key may lack a range: PS and PSY have none.
SELECT symbol, timeframe, rule_set, side, range_id, kind,
       replace((event_ts AT TIME ZONE 'UTC')::text, ' ', 'T') || 'Z' AS event_ts,
       replace((confirmed_ts AT TIME ZONE 'UTC')::text, ' ', 'T') || 'Z' AS confirmed_ts,
       confidence
FROM wyckoff_events AS e
ORDER BY e.symbol, e.timeframe, e.rule_set, e.side, e.range_id NULLS FIRST, e.kind, e.event_ts

-- name: signals
SELECT id, origin, source, symbol, timeframe, pattern_id, pattern_type, direction, status,
       replace((generated_at AT TIME ZONE 'UTC')::text, ' ', 'T') || 'Z' AS generated_at,
       replace((entry_date AT TIME ZONE 'UTC')::text, ' ', 'T') || 'Z' AS entry_date,
       trim_scale(entry_price) AS entry_price, trim_scale(stop) AS stop, trim_scale(target) AS target, planned_r,
       bars_held, replace((exit_date AT TIME ZONE 'UTC')::text, ' ', 'T') || 'Z' AS exit_date,
       trim_scale(exit_price) AS exit_price, exit_reason, realized_r
FROM signals AS t
ORDER BY t.id

-- name: patterns
-- Money without trailing zeros, so that it reads like the other numbers.
SELECT id, source, symbol, timeframe, pattern_type, side, phase, status, revision, confidence,
       price, change_pct, vol_ratio, rsi, sma_20, sma_50, rs_ratio, rs_excess,
       trim_scale(entry) AS entry, trim_scale(stop) AS stop,
       trim_scale(target_1) AS target_1, trim_scale(target_2) AS target_2, planned_r,
       test_confirmed, range_id, rule_set,
       replace((detected_at AT TIME ZONE 'UTC')::text, ' ', 'T') || 'Z' AS detected_at,
       replace((confirmed_at AT TIME ZONE 'UTC')::text, ' ', 'T') || 'Z' AS confirmed_at,
       replace((expires_at AT TIME ZONE 'UTC')::text, ' ', 'T') || 'Z' AS expires_at,
       vsa_events, vsa_events_classic, preliminary_events, preliminary_events_in_range
FROM patterns AS p
ORDER BY p.id

-- name: rs_scores
SELECT symbol, as_of, rs_score, rs_score AS excess_30d, excess_21, excess_63, excess_126, excess_252,
       sector_excess_30d, sector_excess_21, sector_excess_63, sector_excess_126, sector_excess_252,
       rs_ratio, mansfield, rating, is_sector_leader
FROM rs_scores AS r
ORDER BY r.symbol, r.as_of

-- name: sector_mapping
-- Without the time a row was written at, which no input says.
SELECT symbol, sector, etf, as_of, rs_score, rank, is_sector_leader
FROM sector_mapping AS m
ORDER BY m.symbol

-- name: dead_letters
-- Entry ids are ordered as the numbers they are. The payload keeps every byte: a backslash is written as
-- two, NUL and what is no ASCII as \nnn in octal.
SELECT stream, entry_id, row, service, array_to_string(fields, '; ') AS fields,
       array_to_string(reasons, '; ') AS reasons,
       replace((arrived_at AT TIME ZONE 'UTC')::text, ' ', 'T') || 'Z' AS arrived_at,
       encode(sha256, 'hex') AS sha256, encode(payload, 'escape') AS payload
FROM dead_letters AS d
ORDER BY d.stream, split_part(d.entry_id, '-', 1)::bigint, split_part(d.entry_id, '-', 2)::bigint,
         d.row, d.sha256

-- name: estimate
-- For a progress bar only; below 0 where the table was never analysed.
SELECT reltuples::bigint FROM pg_class WHERE oid = $1::text::regclass
