-- name: be_patient
-- Recomputing a long history takes longer than a worker may sit idle in a transaction.
SET LOCAL idle_in_transaction_session_timeout = 0;

-- name: symbols
SELECT symbol FROM symbol_state WHERE $1::text[] IS NULL OR symbol = ANY($1::text[]) ORDER BY symbol COLLATE "C";

-- name: keys
-- Every key that holds bars or events: an event whose bars are gone must be found, too.
SELECT DISTINCT timeframe FROM (
    SELECT timeframe FROM bars WHERE symbol = $1 UNION ALL SELECT timeframe FROM vsa_events WHERE symbol = $1
    UNION ALL SELECT timeframe FROM patterns WHERE symbol = $1
) k ORDER BY timeframe;

-- name: bars
SELECT ts, open, high, low, close, volume, revision, synthetic, hash, end_ts, session_date,
       hours = 'regular' AS regular, arrived_at, evaluable
FROM bars WHERE symbol = $1 AND timeframe = $2 ORDER BY ts;

-- name: events
SELECT symbol, timeframe, rule_set, kind, event_ts, confirmed_ts, knowable_at, direction
FROM vsa_events WHERE symbol = $1 AND timeframe = $2;

-- name: patterns
SELECT id, detected_at, vsa_events, vsa_events_classic FROM patterns WHERE symbol = $1 AND timeframe = $2;

-- name: unsaid
SELECT count(*) FROM outbox;
