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
SELECT id, detected_at, vsa_events, vsa_events_classic, confirmed_ts IS NOT NULL AS own
FROM patterns WHERE symbol = $1 AND timeframe = $2;

-- name: unsaid
SELECT count(*) FROM outbox;

-- name: unread
-- Keys whose bars are still to be read: what Wyckoff says of them is not compared.
SELECT DISTINCT symbol, timeframe FROM unread_bars WHERE $1::text[] IS NULL OR symbol = ANY($1::text[]);

-- name: wyckoff_keys
-- Keys that hold anything that was read: what follows from bars that are gone must be found, too.
SELECT DISTINCT timeframe FROM (
    SELECT timeframe FROM wyckoff_events WHERE symbol = $1 UNION ALL
    SELECT timeframe FROM wyckoff_statuses WHERE symbol = $1 UNION ALL
    SELECT timeframe FROM wyckoff_ranges WHERE symbol = $1 UNION ALL
    SELECT timeframe FROM wyckoff_states WHERE symbol = $1 UNION ALL
    SELECT timeframe FROM signals WHERE symbol = $1
) k ORDER BY timeframe;

-- name: wyckoff_events
SELECT symbol, timeframe, rule_set, side, range_id, kind, event_ts, confirmed_ts, knowable_at, price, confidence, terms
FROM wyckoff_events WHERE symbol = $1 AND timeframe = $2;

-- name: wyckoff_statuses
SELECT symbol, timeframe, rule_set, side, range_id, kind, event_ts, status, confirmed_ts, knowable_at
FROM wyckoff_statuses WHERE symbol = $1 AND timeframe = $2;

-- name: wyckoff_ranges
SELECT symbol, timeframe, rule_set, side, range_id, opened_ts, climax_ts, confirmed_ts, knowable_at, status, phase,
       phases, support, resistance, unit
FROM wyckoff_ranges WHERE symbol = $1 AND timeframe = $2;

-- name: wyckoff_states
SELECT rule_set, ts, state FROM wyckoff_states WHERE symbol = $1 AND timeframe = $2;

-- name: own_patterns
SELECT id, symbol, timeframe, pattern_type, side, phase, status, revision, confidence, price, change_pct, vol_ratio,
       rsi, sma_20, sma_50, entry, stop, target_1, target_2, planned_r, test_confirmed, range_id, rule_set,
       detected_at, confirmed_at, expires_at, event_ts, confirmed_ts, preliminary_events, preliminary_events_in_range
FROM patterns WHERE symbol = $1 AND timeframe = $2 AND confirmed_ts IS NOT NULL;

-- name: paper_trades
SELECT id, symbol, timeframe, pattern_id, pattern_type, direction, status, generated_at, changed_at, entry_date,
       entry_price, entry_session, stop, target, planned_r, bars_held, exit_date, exit_price, exit_session,
       exit_reason, realized_r
FROM signals WHERE symbol = $1 AND timeframe = $2 AND origin = 'paper';

-- name: outside_trades
SELECT id, source, revision, hash, symbol, timeframe, pattern_id, pattern_type, direction, status, generated_at,
       changed_at, entry_date, entry_price, stop, target, planned_r, exit_date, exit_price, exit_reason, realized_r
FROM signals WHERE symbol = $1 AND timeframe = $2 AND origin = 'external';

-- name: unaudited
-- Keys with bars that nobody has looked at since they came: which are missing beside them is not compared.
SELECT DISTINCT symbol, timeframe FROM unaudited_bars WHERE $1::text[] IS NULL OR symbol = ANY($1::text[]);

-- name: audited
SELECT until FROM audited_series WHERE symbol = $1 AND timeframe = $2;

-- name: gaps
SELECT first_ts, last_ts, bars, kind FROM gaps WHERE symbol = $1 AND timeframe = $2 ORDER BY first_ts;
