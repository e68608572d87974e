-- name: versions
-- Memory about a symbol is valid while counter and nonce are the same.
SELECT symbol, version, nonce FROM symbol_state WHERE symbol = ANY($1::text[]);

-- name: add_symbols
-- The row must exist before it can be locked. The order keeps two workers from waiting for each other.
INSERT INTO symbol_state (symbol, version, nonce)
SELECT s, 0, 0 FROM unnest($1::text[]) AS s ORDER BY s COLLATE "C"
ON CONFLICT DO NOTHING;

-- name: lock_symbols
SELECT symbol, version, nonce FROM symbol_state WHERE symbol = ANY($1::text[])
ORDER BY symbol COLLATE "C" FOR UPDATE;

-- name: move_symbols
-- A counter alone would repeat itself after a restored backup; the nonce does not.
UPDATE symbol_state SET version = version + 1, nonce = $2 WHERE symbol = ANY($1::text[]);

-- name: level_symbols
UPDATE symbol_state SET version = $2 WHERE symbol = ANY($1::text[]);
