-- name: windows
-- All bars that bear on bars from first_ts to last_ts, or are touched by them: $4 analysed ones on both sides.
-- An infinite end says that history begins, or ends, inside the window.
SELECT w.n, e.since, e.until, b.ts, b.open, b.high, b.low, b.close, b.volume, b.revision, b.synthetic, b.hash,
       b.end_ts, b.session_date, b.hours = 'regular' AS regular, b.arrived_at, b.evaluable
FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[]) WITH ORDINALITY
     AS w(symbol, timeframe, first_ts, last_ts, n)
CROSS JOIN LATERAL (
    SELECT coalesce((SELECT p.ts FROM bars p
                     WHERE p.symbol = w.symbol AND p.timeframe = w.timeframe AND p.ts < w.first_ts
                       AND p.evaluable IS NOT NULL
                     ORDER BY p.ts DESC OFFSET $5::int - 1 LIMIT 1), '-infinity') AS since,
           coalesce((SELECT p.ts FROM bars p
                     WHERE p.symbol = w.symbol AND p.timeframe = w.timeframe AND p.ts > w.last_ts
                       AND p.evaluable IS NOT NULL
                     ORDER BY p.ts OFFSET $5::int - 1 LIMIT 1), 'infinity') AS until
) e
LEFT JOIN bars b ON b.symbol = w.symbol AND b.timeframe = w.timeframe AND b.ts BETWEEN e.since AND e.until
ORDER BY w.n, b.ts;

-- name: events
-- Events of one key confirmed within a span: those that may no longer follow.
SELECT v.symbol, v.timeframe, v.rule_set, v.kind, v.event_ts, v.confirmed_ts, v.knowable_at, v.direction
FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[]) AS w(symbol, timeframe, first_ts, last_ts)
JOIN vsa_events v ON v.symbol = w.symbol AND v.timeframe = w.timeframe
                 AND v.confirmed_ts BETWEEN w.first_ts AND w.last_ts;

-- name: replace_bars
-- The greatest (revision, real before synthetic, hash) wins, so order and repetition do not matter.
INSERT INTO bars AS b (symbol, timeframe, ts, open, high, low, close, volume, revision, synthetic, hash,
                       end_ts, session_date, hours, arrived_at, evaluable)
SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::float8[], $5::float8[], $6::float8[],
                     $7::float8[], $8::float8[], $9::bigint[], $10::bool[], $11::bigint[], $12::timestamptz[],
                     $13::date[], $14::text[], $15::timestamptz[], $16::bool[])
ON CONFLICT (symbol, timeframe, ts) DO UPDATE SET
    open = EXCLUDED.open, high = EXCLUDED.high, low = EXCLUDED.low, close = EXCLUDED.close,
    volume = EXCLUDED.volume, revision = EXCLUDED.revision, synthetic = EXCLUDED.synthetic,
    hash = EXCLUDED.hash, end_ts = EXCLUDED.end_ts, session_date = EXCLUDED.session_date,
    hours = EXCLUDED.hours, arrived_at = EXCLUDED.arrived_at, evaluable = EXCLUDED.evaluable
WHERE (EXCLUDED.revision, NOT EXCLUDED.synthetic, EXCLUDED.hash) > (b.revision, NOT b.synthetic, b.hash);

-- name: judge_bars_anew
-- The bar is the same; what came before it is not.
UPDATE bars b SET evaluable = w.evaluable
FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::bool[]) AS w(symbol, timeframe, ts, evaluable)
WHERE b.symbol = w.symbol AND b.timeframe = w.timeframe AND b.ts = w.ts;

-- name: retract_events
DELETE FROM vsa_events v
USING unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[])
      AS w(symbol, timeframe, rule_set, kind, event_ts)
WHERE (v.symbol, v.timeframe, v.rule_set, v.kind, v.event_ts)
    = (w.symbol, w.timeframe, w.rule_set, w.kind, w.event_ts);

-- name: store_events
-- An event met again with another confirming bar is the same event, confirmed otherwise.
INSERT INTO vsa_events (symbol, timeframe, rule_set, kind, event_ts, confirmed_ts, knowable_at, direction)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[],
                     $7::timestamptz[], $8::text[])
ON CONFLICT (symbol, timeframe, rule_set, kind, event_ts) DO UPDATE SET
    confirmed_ts = EXCLUDED.confirmed_ts, knowable_at = EXCLUDED.knowable_at, direction = EXCLUDED.direction;

-- name: mark
-- For those who work across symbols, who read the tape, and who look for gaps; and how far the bars of a timeframe
-- go.
-- Plain inserts: ON CONFLICT DO NOTHING would wait for, and lose against, a mark that is being taken away.
WITH changed AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[])
        AS c(symbol, timeframe, first_ts, last_ts, last_end)
),
unread AS (
    INSERT INTO unread_bars (symbol, timeframe, first_ts, last_ts)
    SELECT symbol, timeframe, first_ts, last_ts FROM changed
),
unaudited AS (
    INSERT INTO unaudited_bars (symbol, timeframe, first_ts, last_ts)
    SELECT symbol, timeframe, first_ts, last_ts FROM changed
),
newest AS (
    INSERT INTO newest_bars (timeframe, end_ts)
    SELECT c.timeframe, max(c.last_end) FROM changed c GROUP BY c.timeframe
    HAVING NOT EXISTS (SELECT FROM newest_bars n WHERE n.timeframe = c.timeframe AND n.end_ts >= max(c.last_end))
)
INSERT INTO dirty_symbols (symbol, timeframe, first_ts, last_ts)
SELECT symbol, timeframe, first_ts, last_ts FROM changed;

-- name: compact_marks
-- One mark says as much as many. A mark that someone is taking away is left to them.
WITH taken AS (
    DELETE FROM dirty_symbols WHERE id IN (
        SELECT id FROM dirty_symbols ORDER BY id LIMIT 100000 FOR UPDATE SKIP LOCKED)
    RETURNING symbol, timeframe, first_ts, last_ts
)
INSERT INTO dirty_symbols (symbol, timeframe, first_ts, last_ts)
SELECT symbol, timeframe, min(first_ts), max(last_ts) FROM taken GROUP BY symbol, timeframe;

-- name: compact_unread
-- The same for those who read the tape. A mark is as old as its oldest: who waits for that one must not be told
-- that it is gone.
WITH taken AS (
    DELETE FROM unread_bars WHERE id IN (
        SELECT id FROM unread_bars ORDER BY id LIMIT 100000 FOR UPDATE SKIP LOCKED)
    RETURNING symbol, timeframe, first_ts, last_ts, marked_at
)
INSERT INTO unread_bars (symbol, timeframe, first_ts, last_ts, marked_at)
SELECT symbol, timeframe, min(first_ts), max(last_ts), min(marked_at) FROM taken GROUP BY symbol, timeframe;

-- name: compact_newest
-- Only what is below the greatest goes; rows that somebody else is adding are not seen and stay.
DELETE FROM newest_bars n
WHERE n.end_ts < (SELECT max(g.end_ts) FROM newest_bars g WHERE g.timeframe = n.timeframe);
