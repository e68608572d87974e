-- name: store
-- A universe has the members that it was last given. The time is that of a change, not of a repetition.
INSERT INTO universes AS u (key, description, symbols, changed_at)
VALUES ($1, coalesce($2::text, $1), $3::text[], now())
ON CONFLICT (key) DO UPDATE SET
    description = coalesce($2::text, u.description),
    symbols = EXCLUDED.symbols,
    changed_at = CASE WHEN u.symbols = EXCLUDED.symbols AND u.changed_at IS NOT NULL THEN u.changed_at ELSE now() END;

-- name: members
SELECT symbols FROM universes WHERE key = $1;

-- name: lock
-- Of two imports of one list the later one takes the whole place of the other, and each says truly what it changed.
SELECT pg_advisory_xact_lock(hashtextextended('rollo-universes', 0));

-- name: store_exchanges
-- Symbols that are not told of stay where they are. Returns how many are new or elsewhere.
WITH stored AS (
    INSERT INTO exchanges AS e (symbol, exchange)
    SELECT * FROM unnest($1::text[], $2::text[])
    ON CONFLICT (symbol) DO UPDATE SET exchange = EXCLUDED.exchange WHERE e.exchange <> EXCLUDED.exchange
    RETURNING 1
)
SELECT count(*) FROM stored;

-- name: lists
SELECT key, description, symbols, changed_at FROM universes;

-- name: sectors
-- Stocks alone: funds stand for a sector and are not in it.
SELECT sector, array_agg(symbol ORDER BY symbol) AS symbols FROM sectors
WHERE kind = 'stock' AND sector IS NOT NULL GROUP BY sector;

-- name: leaders
SELECT coalesce(array_agg(symbol ORDER BY symbol), '{}') AS symbols, max(as_of) AS as_of FROM sector_mapping
WHERE is_sector_leader;

-- name: exchanges
SELECT exchange, array_agg(symbol ORDER BY symbol) AS symbols FROM exchanges GROUP BY exchange;
