-- name: pending_scans
-- Scans that are still to be looked at in this very snapshot; nothing of them is compared.
SELECT scan_id FROM unscanned WHERE scan_id IS NOT NULL

-- name: pending_everything
SELECT EXISTS (SELECT FROM unscanned WHERE scan_id IS NULL AND symbol IS NULL)

-- name: pending_symbols
-- The same of symbols: marked, or with a pattern that ended after anybody last looked for that.
SELECT symbol FROM unscanned WHERE symbol IS NOT NULL
UNION
SELECT p.symbol FROM patterns p JOIN scan_clocks c ON c.timeframe = ''
WHERE p.confirmed_ts IS NULL
  AND p.expires_at BETWEEN least(c.seen_to, clock_timestamp()) AND greatest(c.seen_to, clock_timestamp())
UNION
SELECT p.symbol FROM patterns p LEFT JOIN scan_clocks c ON c.timeframe = p.timeframe
CROSS JOIN LATERAL (SELECT max(n.end_ts) AS end_ts FROM newest_bars n WHERE n.timeframe = p.timeframe) n
WHERE p.confirmed_ts IS NOT NULL AND n.end_ts IS NOT NULL
  AND (c.seen_to IS NULL OR p.expires_at >= c.seen_to AND p.expires_at < n.end_ts)

-- name: scans
SELECT s.id, s.filters, w.symbols AS watchlist FROM saved_scans s LEFT JOIN watchlists w ON w.id = s.watchlist_id
ORDER BY s.id

-- name: active
-- Everything that a scan may ask for of every pattern that is not over.
SELECT p.symbol, p.pattern_type, p.timeframe, p.side, p.phase, p.confidence, p.vol_ratio, p.rsi, p.test_confirmed,
       p.rs_ratio, p.rs_excess, m.rs_score, coalesce(m.sector, s.sector) AS sector,
       (SELECT r.rs_ratio FROM rs_scores r WHERE r.symbol = p.symbol AND r.as_of <= m.as_of
        ORDER BY r.as_of DESC LIMIT 1) AS own_ratio
FROM patterns p LEFT JOIN sector_mapping m ON m.symbol = p.symbol LEFT JOIN sectors s ON s.symbol = p.symbol
WHERE p.status = 'active' AND ($1::text[] IS NULL OR p.symbol = ANY($1::text[])) AND CASE
    WHEN p.confirmed_ts IS NULL THEN p.expires_at > clock_timestamp()
    ELSE p.expires_at >= (SELECT max(n.end_ts) FROM newest_bars n WHERE n.timeframe = p.timeframe) END

-- name: entrants
SELECT scan_id, symbol FROM entrants WHERE $1::text[] IS NULL OR symbol = ANY($1::text[])
