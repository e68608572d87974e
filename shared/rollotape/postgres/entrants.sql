-- name: due
-- Whether anything is to be looked at. The ends of patterns have no marks: they come with the time, or with a bar.
SELECT EXISTS (SELECT FROM unscanned) OR EXISTS (
    SELECT FROM newest_bars n LEFT JOIN scan_clocks c USING (timeframe)
    WHERE n.end_ts > coalesce(c.seen_to, '-infinity')
) OR EXISTS (
    SELECT FROM scan_clocks c JOIN patterns p ON p.expires_at > least(c.seen_to, clock_timestamp())
                                             AND p.expires_at <= greatest(c.seen_to, clock_timestamp())
    WHERE c.timeframe = '' AND p.status = 'active' AND p.confirmed_ts IS NULL
)

-- name: waiting
SELECT count(DISTINCT symbol) AS symbols, count(DISTINCT scan_id) AS scans,
       coalesce(extract(epoch FROM clock_timestamp() - min(marked_at)), 0)::float8 AS oldest_s
FROM unscanned

-- name: lock
-- One at a time; another one would do the same work.
SELECT pg_try_advisory_xact_lock($1)

-- name: turn
-- Whoever has taken its snapshot before the last turn was committed is stopped here: it would not see all that was written.
UPDATE scan_turns SET turn = turn + 1 RETURNING turn

-- name: epoch
SELECT epoch::text FROM installation

-- name: spread
-- A mark of everything becomes one of each scan.
WITH taken AS (DELETE FROM unscanned WHERE symbol IS NULL AND scan_id IS NULL RETURNING marked_at)
INSERT INTO unscanned (scan_id, marked_at)
SELECT id, (SELECT min(marked_at) FROM taken) FROM saved_scans WHERE EXISTS (SELECT FROM taken)

-- name: sweep
-- What has ended since the last time becomes marks: of other systems' patterns by the clock, of our own by the newest bar.
-- A clock that was put back has some of them begin again, and the first bar of a timeframe those that were there before it.
WITH clocks AS (
    SELECT '' AS timeframe, clock_timestamp() AS at
    UNION ALL
    SELECT timeframe, max(end_ts) FROM newest_bars GROUP BY timeframe
),
moved AS MATERIALIZED (
    SELECT c.timeframe, c.at, least(coalesce(s.seen_to, '-infinity'), c.at) AS first,
           CASE WHEN s.seen_to IS NULL THEN 'infinity' ELSE greatest(s.seen_to, c.at) END AS last
    FROM clocks c LEFT JOIN scan_clocks s USING (timeframe)
    WHERE c.at IS DISTINCT FROM s.seen_to
),
ended AS (
    SELECT p.symbol FROM moved m JOIN patterns p ON p.expires_at > m.first AND p.expires_at <= m.last
    WHERE m.timeframe = '' AND p.status = 'active' AND p.confirmed_ts IS NULL
    UNION
    SELECT p.symbol FROM moved m JOIN patterns p ON p.timeframe = m.timeframe AND p.expires_at >= m.first
                                                AND p.expires_at < m.last
    WHERE p.status = 'active' AND p.confirmed_ts IS NOT NULL
),
marked AS (INSERT INTO unscanned (symbol) SELECT symbol FROM ended)
INSERT INTO scan_clocks (timeframe, seen_to) SELECT timeframe, at FROM moved
ON CONFLICT (timeframe) DO UPDATE SET seen_to = EXCLUDED.seen_to

-- name: marked_scans
-- The oldest marks first.
SELECT scan_id FROM unscanned WHERE scan_id IS NOT NULL GROUP BY scan_id ORDER BY min(id)

-- name: take_scans
DELETE FROM unscanned WHERE scan_id = ANY($1::uuid[])

-- name: count_scans
SELECT count(*) FROM saved_scans

-- name: take_symbols
-- All marks of some symbols, those first that have been waiting longest; and whether any of the changes is news.
WITH taken AS (
    DELETE FROM unscanned WHERE symbol IN (
        SELECT symbol FROM unscanned WHERE symbol IS NOT NULL GROUP BY symbol ORDER BY min(id) LIMIT $1)
    RETURNING symbol, knowable_at, marked_at
)
SELECT symbol, bool_or(coalesce(knowable_at >= marked_at - make_interval(secs => $2), false)) FROM taken GROUP BY symbol

-- name: scans
-- Those with these ids, all of them where there are none; each with its watchlist.
SELECT s.id, s.filters, w.symbols FROM saved_scans s LEFT JOIN watchlists w ON w.id = s.watchlist_id
WHERE $1::uuid[] IS NULL OR s.id = ANY($1::uuid[])

-- name: rows
-- What of the active patterns of some symbols is filtered by, as `items` of the read model has it.
SELECT p.id::text, p.symbol, p.pattern_type, p.timeframe, p.side, p.phase, coalesce(m.sector, s.sector), p.confidence,
       CASE WHEN m.rs_score IS NULL THEN p.rs_ratio ELSE r.rs_ratio END, coalesce(m.rs_score, p.rs_excess),
       p.vol_ratio, p.rsi, p.test_confirmed, p.detected_at, p.expires_at
FROM active_patterns() p
LEFT JOIN sector_mapping m ON m.symbol = p.symbol
LEFT JOIN sectors s ON s.symbol = p.symbol
LEFT JOIN LATERAL (
    SELECT rs_ratio FROM rs_scores
    WHERE symbol = p.symbol AND as_of <= m.as_of AND m.rs_score IS NOT NULL
    ORDER BY as_of DESC LIMIT 1
) r ON true
WHERE p.symbol = ANY($1::text[])

-- name: all_rows
-- The same of every symbol: strength is looked up once for each.
WITH active AS MATERIALIZED (SELECT * FROM active_patterns()),
strength AS (
    SELECT k.symbol, coalesce(m.sector, s.sector) AS sector, m.rs_score, r.rs_ratio
    FROM (SELECT DISTINCT symbol FROM active) k
    LEFT JOIN sector_mapping m ON m.symbol = k.symbol
    LEFT JOIN sectors s ON s.symbol = k.symbol
    LEFT JOIN LATERAL (
        SELECT rs_ratio FROM rs_scores
        WHERE symbol = k.symbol AND as_of <= m.as_of AND m.rs_score IS NOT NULL
        ORDER BY as_of DESC LIMIT 1
    ) r ON true
)
SELECT p.id::text, p.symbol, p.pattern_type, p.timeframe, p.side, p.phase, k.sector, p.confidence,
       CASE WHEN k.rs_score IS NULL THEN p.rs_ratio ELSE k.rs_ratio END, coalesce(k.rs_score, p.rs_excess),
       p.vol_ratio, p.rsi, p.test_confirmed, p.detected_at, p.expires_at
FROM active p JOIN strength k ON k.symbol = p.symbol

-- name: of_symbols
SELECT scan_id, symbol FROM entrants WHERE symbol = ANY($1::text[])

-- name: of_scans
SELECT scan_id, symbol FROM entrants WHERE scan_id = ANY($1::uuid[])

-- name: hold_scans
-- Before their rows are touched: whoever deletes one of them takes the scan first and its rows then, too.
SELECT id FROM saved_scans WHERE id = ANY($1::uuid[]) ORDER BY id FOR KEY SHARE

-- name: enter
INSERT INTO entrants (scan_id, symbol) SELECT * FROM unnest($1::uuid[], $2::text[])

-- name: leave
DELETE FROM entrants e USING unnest($1::uuid[], $2::text[]) AS w(scan_id, symbol)
WHERE e.scan_id = w.scan_id AND e.symbol = w.symbol

-- name: names
-- Whose they are, and how they are called now.
SELECT id, owner, name FROM saved_scans WHERE id = ANY($1::uuid[])
