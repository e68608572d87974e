-- name: lock
-- Whoever changes the read model holds this while reading here and writing there, so of two changes the later
-- one has read later. A builder that lost it without noticing is refused by its version.
SELECT pg_advisory_xact_lock(hashtextextended('rollo-read-model-patterns', 0));

-- name: turn
SELECT epoch::text, nextval('read_model_versions'), clock_timestamp() FROM installation;

-- name: exceed
-- Under the lock: a sequence behind what was given out (a database restored) goes on where that ended.
SELECT setval('read_model_versions', greatest($1::bigint, (SELECT last_value FROM read_model_versions)));

-- name: now
SELECT clock_timestamp(), epoch::text FROM installation;

-- name: items
-- Active patterns with their strength. A score of our own takes the place of what the sender said, together with
-- the ratio: the newest one up to the day of the mapping, which is that of the last day both have a bar. Where we
-- have no score, both are the sender's: the two are never mixed.
-- What they were made of is there as well, as `strength` has it. Strength at the detection is that of the last session
-- that was over by then, and unknown where that is more than 5 days before: older is stale.
SELECT p.id::text, p.symbol, p.pattern_type, p.timeframe, p.side, p.phase, p.confidence, p.price, p.change_pct,
       CASE WHEN m.rs_score IS NULL THEN p.rs_ratio ELSE r.rs_ratio END AS rs_ratio,
       coalesce(m.rs_score, p.rs_excess) AS rs_excess,
       d.rs_ratio AS rs_ratio_at_detection, d.rs_score AS rs_excess_at_detection,
       p.vol_ratio, p.rsi, coalesce(m.sector, s.sector) AS sector, m.is_sector_leader,
       p.entry::float8, p.stop::float8, p.target_1::float8, p.target_2::float8, p.planned_r, p.test_confirmed,
       p.vsa_events, p.vsa_events_classic, p.preliminary_events,
       p.detected_at, p.confirmed_at, p.expires_at, p.source, p.rule_set, m.rs_score AS own_score, r.rs_ratio AS own_ratio
FROM active_patterns() p
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
WHERE p.id = ANY($1::text[]::uuid[]);

-- name: ids
SELECT id::text FROM active_patterns();

-- name: ids_of_symbols
SELECT id::text FROM active_patterns() WHERE symbol = ANY($1::text[]);

-- name: ids_detected
-- Of those detected within the week that begins with any of these days, from the first to the last.
SELECT id::text FROM active_patterns()
WHERE detected_at >= $1::text::date::timestamp AT TIME ZONE 'UTC'
  AND detected_at < ($2::text::date + 7)::timestamp AT TIME ZONE 'UTC';

-- name: strength
-- What `items` takes from elsewhere, of every symbol that has an active pattern.
SELECT p.symbol, coalesce(m.sector, s.sector), m.is_sector_leader, m.rs_score, r.rs_ratio
FROM (SELECT DISTINCT symbol FROM active_patterns()) p
LEFT JOIN sector_mapping m ON m.symbol = p.symbol
LEFT JOIN sectors s ON s.symbol = p.symbol
LEFT JOIN LATERAL (
    SELECT rs_ratio FROM rs_scores
    WHERE symbol = p.symbol AND as_of <= m.as_of AND m.rs_score IS NOT NULL
    ORDER BY as_of DESC LIMIT 1
) r ON true;

-- name: newest_bars
SELECT timeframe, max(end_ts) FROM newest_bars GROUP BY timeframe;

-- name: outlived
-- Our own patterns that are over because the bars of their timeframe have come past their expires_at, from $2 to $3.
SELECT p.id::text FROM unnest($1::text[], $2::timestamptz[], $3::timestamptz[]) AS w(timeframe, before, newest)
JOIN patterns p ON p.timeframe = w.timeframe AND p.expires_at >= w.before AND p.expires_at < w.newest
WHERE p.status = 'active' AND p.confirmed_ts IS NOT NULL;
