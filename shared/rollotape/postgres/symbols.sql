-- name: scored_date
-- The newest date with scores up to the one asked for.
SELECT max(as_of) FROM rs_scores WHERE as_of <= coalesce($1::date, 'infinity')

-- name: due
-- Whether scores of these dates may still change by what is stored already.
SELECT EXISTS (SELECT FROM dirty_symbols WHERE timeframe = '1d')
    OR EXISTS (SELECT FROM dirty_dates WHERE as_of BETWEEN $1::date AND $2::date)

-- name: standing
-- The cross-section of a date ($1): every stock with a bar on it as it is stored, and stocks with a score that
-- had none that day but one within the five days before. Those are ranked here, among all members of their
-- sector, as rs-worker ranked the others among them. What only their bar could tell (rating) is not known.
-- The queries that follow go on from here.
WITH near AS (
    SELECT * FROM rs_scores WHERE as_of = $1::date
    UNION ALL
    (SELECT DISTINCT ON (o.symbol) o.* FROM rs_scores o
     WHERE o.as_of BETWEEN $1::date - 5 AND $1::date - 1
       AND NOT EXISTS (SELECT FROM rs_scores n WHERE n.as_of = $1::date AND n.symbol = o.symbol)
     ORDER BY o.symbol, o.as_of DESC)
),
ranked AS (
    SELECT n.*, s.name, s.sector,
           rank() OVER (PARTITION BY s.sector ORDER BY round(n.rs_score * 1e9) DESC NULLS LAST) AS place,
           count(n.rs_score) OVER (PARTITION BY s.sector) AS members
    FROM near n LEFT JOIN sectors s ON s.symbol = n.symbol
    WHERE n.as_of = $1::date OR n.rs_score IS NOT NULL
),
standing AS (
    SELECT symbol, name, sector, as_of, rs_score,
           excess_21, excess_63, excess_126, excess_252,
           sector_excess_30d, sector_excess_21, sector_excess_63, sector_excess_126, sector_excess_252,
           rs_ratio, rs_ratio_21, rs_ratio_63, rs_ratio_126, rs_ratio_252, mansfield,
           CASE WHEN as_of = $1::date THEN rating END AS rating,
           CASE WHEN as_of = $1::date THEN sector_rank WHEN sector IS NOT NULL THEN place::integer END AS sector_rank,
           CASE WHEN as_of = $1::date THEN is_sector_leader
                ELSE sector IS NOT NULL AND members >= 5 AND place <= ceil(members / 5.0) END AS is_sector_leader,
           market_status, sector_status
    FROM ranked
)

-- name: strength
-- One page of it, the strongest first or last by the column asked for, unknown ones at the end.
SELECT * FROM (
    SELECT t.*, coalesce($2::float8 * CASE $3::text
               WHEN 'rs_score' THEN rs_score WHEN 'rating' THEN rating WHEN 'mansfield' THEN mansfield
               WHEN 'excess_21' THEN excess_21 WHEN 'excess_63' THEN excess_63
               WHEN 'excess_126' THEN excess_126 WHEN 'excess_252' THEN excess_252 END, '-infinity') AS key
    FROM standing t
    WHERE ($4::text[] IS NULL OR symbol = ANY($4)) AND ($5::text[] IS NULL OR sector = ANY($5))
) w
WHERE $6::text IS NULL OR key < coalesce($7::float8, '-infinity') OR key = coalesce($7::float8, '-infinity') AND symbol > $6
ORDER BY key DESC, symbol
LIMIT $8

-- name: leaders
-- One page of the leaders, sector by sector, the strongest first.
SELECT * FROM standing
WHERE is_sector_leader AND ($2::text[] IS NULL OR sector = ANY($2))
  AND ($7::text[] IS NULL OR symbol = ANY($7))
  AND ($3::text IS NULL OR (sector, sector_rank, symbol) > ($3, $4::integer, $5::text))
ORDER BY sector, sector_rank, symbol
LIMIT $6

-- name: known_at
-- When the newest of these daily bars was known.
SELECT max(b.end_ts) FROM unnest($1::text[], $2::date[]) AS w(symbol, as_of)
JOIN bars b ON b.symbol = w.symbol AND b.timeframe = '1d' AND b.ts = w.as_of::timestamp AT TIME ZONE 'UTC'

-- name: history_newest_first
-- One page of a symbol's scores, along its index.
SELECT r.*, s.name, s.sector FROM rs_scores r LEFT JOIN sectors s ON s.symbol = r.symbol
WHERE r.symbol = $1 AND r.as_of BETWEEN ($2::timestamptz AT TIME ZONE 'UTC')::date AND ($3::timestamptz AT TIME ZONE 'UTC')::date
  AND r.as_of::timestamp AT TIME ZONE 'UTC' >= $2 AND ($4::date IS NULL OR r.as_of < $4)
ORDER BY r.as_of DESC
LIMIT $5

-- name: history_oldest_first
SELECT r.*, s.name, s.sector FROM rs_scores r LEFT JOIN sectors s ON s.symbol = r.symbol
WHERE r.symbol = $1 AND r.as_of BETWEEN ($2::timestamptz AT TIME ZONE 'UTC')::date AND ($3::timestamptz AT TIME ZONE 'UTC')::date
  AND r.as_of::timestamp AT TIME ZONE 'UTC' >= $2 AND ($4::date IS NULL OR r.as_of > $4)
ORDER BY r.as_of
LIMIT $5

-- name: knows
-- A symbol is known when it has a bar or when somebody said what it is.
SELECT EXISTS (SELECT FROM symbol_state WHERE symbol = $1) OR EXISTS (SELECT FROM sectors WHERE symbol = $1)

-- name: symbols
-- One page of all symbols. Which bar is the newest is asked for those on the page alone, and whether a symbol is
-- active only where the answer is a filter: the one is a look per timeframe, the other a walk over all of them.
WITH page AS (
    SELECT k.symbol, s.name, s.sector, s.industry, coalesce(s.kind, 'stock') AS kind, e.exchange
    FROM (SELECT symbol FROM symbol_state UNION SELECT symbol FROM sectors) k
    LEFT JOIN sectors s ON s.symbol = k.symbol
    LEFT JOIN exchanges e ON e.symbol = k.symbol
    WHERE ($1::text IS NULL OR k.symbol > $1) AND ($9::text IS NULL OR k.symbol = $9)
      AND ($2::text IS NULL OR strpos(k.symbol, upper($2)) > 0 OR strpos(upper(s.name), upper($2)) > 0)
      AND ($3::text[] IS NULL OR s.sector = ANY($3))
      AND ($4::text IS NULL OR coalesce(s.kind, 'stock') = $4)
      AND ($10::text[] IS NULL OR e.exchange = ANY($10))
      AND ($5::boolean IS NULL OR $5 = EXISTS (
          SELECT FROM unnest($6::text[]) AS t(timeframe)
          JOIN bars b ON b.symbol = k.symbol AND b.timeframe = t.timeframe AND b.ts >= $7::timestamptz))
    ORDER BY k.symbol
    LIMIT $8
)
SELECT p.*, coalesce(b.ts >= $7, false) AS active,
       m.as_of AS rs_as_of, m.rs_score, m.rank AS sector_rank, coalesce(m.is_sector_leader, false) AS is_sector_leader,
       b.timeframe AS last_timeframe, b.ts AS last_ts, b.end_ts AS last_end_ts, b.close AS last_close
FROM page p
LEFT JOIN sector_mapping m ON m.symbol = p.symbol
LEFT JOIN LATERAL (
    SELECT n.* FROM unnest($6::text[]) AS t(timeframe)
    CROSS JOIN LATERAL (
        SELECT timeframe, ts, end_ts, close FROM bars
        WHERE symbol = p.symbol AND timeframe = t.timeframe ORDER BY ts DESC LIMIT 1
    ) n
    ORDER BY n.ts DESC, n.end_ts DESC, n.timeframe LIMIT 1
) b ON true
ORDER BY p.symbol

-- name: active_since
-- Five days before the newest date on which any stock has a daily bar; before now where none has.
SELECT coalesce((SELECT max(as_of) FROM sector_mapping)::timestamp AT TIME ZONE 'UTC', now()) - interval '5 days'

-- name: newest_scores
SELECT r.*, s.name, s.sector FROM rs_scores r LEFT JOIN sectors s ON s.symbol = r.symbol
WHERE r.symbol = $1 ORDER BY r.as_of DESC LIMIT 1

-- name: bar_counts
SELECT timeframe, count(*) AS count FROM bars WHERE symbol = $1 GROUP BY timeframe

-- name: event_counts
SELECT rule_set, count(*) AS count FROM vsa_events WHERE symbol = $1 GROUP BY rule_set

-- name: pattern_counts
SELECT (SELECT count(*) FROM patterns WHERE symbol = $1) AS all,
       (SELECT count(*) FROM active_patterns() WHERE symbol = $1) AS active

-- name: pattern
-- With strength as the read model joins it, so that a pattern says the same wherever it is shown.
SELECT p.id, p.symbol, p.pattern_type, p.timeframe, p.side, p.phase, p.status, p.revision, p.confidence, p.price,
       p.change_pct, p.vol_ratio, p.rsi, p.sma_20, p.sma_50, p.entry, p.stop, p.target_1, p.target_2, p.planned_r,
       p.test_confirmed, p.range_id, p.rule_set, p.source, p.detected_at, p.confirmed_at, p.expires_at,
       p.vsa_events, p.vsa_events_classic, p.preliminary_events, p.preliminary_events_in_range,
       p.confirmed_ts IS NOT NULL AS own,
       CASE WHEN m.rs_score IS NULL THEN p.rs_ratio ELSE r.rs_ratio END AS rs_ratio,
       coalesce(m.rs_score, p.rs_excess) AS rs_excess,
       d.rs_ratio AS rs_ratio_at_detection, d.rs_score AS rs_excess_at_detection,
       coalesce(m.sector, s.sector) AS sector, m.is_sector_leader
FROM patterns p
LEFT JOIN sector_mapping m ON m.symbol = p.symbol
LEFT JOIN sectors s ON s.symbol = p.symbol
LEFT JOIN LATERAL (
    SELECT rs_ratio FROM rs_scores
    WHERE symbol = p.symbol AND as_of <= m.as_of AND m.rs_score IS NOT NULL
    ORDER BY as_of DESC LIMIT 1
) r ON true
LEFT JOIN LATERAL (
    SELECT n.rs_ratio, n.rs_score FROM bars b
    JOIN rs_scores n ON n.symbol = b.symbol AND n.as_of = b.session_date
    WHERE b.symbol = p.symbol AND b.timeframe = '1d' AND b.ts <= p.detected_at AND b.end_ts <= p.detected_at
      AND b.session_date >= (p.detected_at AT TIME ZONE 'America/New_York')::date - 5
    ORDER BY b.ts DESC LIMIT 1
) d ON true
WHERE p.id = $1

-- name: pattern_events
-- What its counts are made of.
SELECT kind, direction, rule_set, event_ts, confirmed_ts, knowable_at FROM vsa_events
WHERE symbol = $1 AND timeframe = $2
  AND knowable_at > $3::timestamptz - interval '30 days' AND knowable_at <= $3
ORDER BY knowable_at, event_ts, rule_set, kind

-- name: pattern_tape
-- What was read up to a pattern of ours, on its side: of its range, or of the 30 days before. Its own event is among
-- them; a status counts when it was known at the detection. Of outside patterns there is none.
SELECT e.rule_set, e.side, coalesce(e.range_id, s.range_id)::text AS range_id, e.kind, e.event_ts, e.confirmed_ts,
       e.knowable_at, e.price, e.confidence, e.terms, s.status, s.knowable_at AS status_since
FROM patterns p
JOIN wyckoff_events e ON e.symbol = p.symbol AND e.timeframe = p.timeframe AND e.rule_set = p.rule_set
                     AND e.side = p.side AND e.confirmed_ts <= p.confirmed_ts
LEFT JOIN LATERAL (
    SELECT s.status, s.knowable_at, s.range_id FROM wyckoff_statuses s
    WHERE s.symbol = e.symbol AND s.timeframe = e.timeframe AND s.rule_set = e.rule_set AND s.side = e.side
      AND s.kind = e.kind AND s.event_ts = e.event_ts AND (e.range_id IS NULL OR s.range_id = e.range_id)
      AND s.confirmed_ts <= p.confirmed_ts
    ORDER BY s.confirmed_ts DESC, s.status LIMIT 1
) s ON true
WHERE p.id = $1
  AND (coalesce(e.range_id, s.range_id) = p.range_id OR e.knowable_at >= p.detected_at - interval '30 days')
ORDER BY e.event_ts, e.kind COLLATE "C", e.range_id

-- name: pattern_range
-- As it stands now.
SELECT rule_set, side, range_id::text AS range_id, status, phase, phases, support, resistance, unit, opened_ts,
       climax_ts, confirmed_ts, knowable_at
FROM wyckoff_ranges WHERE range_id = $1 ORDER BY confirmed_ts DESC LIMIT 1

-- name: paper_trade
SELECT id::text AS id, origin, status, direction, generated_at, changed_at, entry_date, entry_price::float8 AS entry_price,
       stop::float8 AS stop, target::float8 AS target, planned_r, bars_held, exit_date,
       exit_price::float8 AS exit_price, exit_reason, realized_r
FROM signals WHERE id = $1 AND origin = 'paper'
