-- name: partitions
SELECT partitions FROM installation

-- name: newest_unsaid
-- What is said after this is none of ours: an outbox that others keep busy would never be empty.
SELECT max(id) FROM outbox

-- name: unsaid
SELECT EXISTS (SELECT FROM outbox WHERE id <= $1)

-- name: events
-- The primary key of vsa_events begins with the symbol.
SELECT count(*) FROM vsa_events WHERE symbol = ANY($1::text[])

-- name: sample
-- Some symbols by chance, to check a part of a large installation.
SELECT symbol FROM symbol_state ORDER BY random() LIMIT $1

-- name: due
-- Of the marks up to $1 and the dates up to $2: what of relative strength is still to be done. A mark becomes
-- dates, and a date goes away with its scores, in one transaction each.
SELECT (SELECT count(*) FROM dirty_symbols WHERE timeframe = '1d' AND id <= $1::bigint) AS marks,
       (SELECT count(DISTINCT as_of) FROM dirty_dates WHERE id <= $2::bigint) AS dates,
       (SELECT coalesce(max(id), 0) FROM dirty_symbols WHERE timeframe = '1d') AS newest_mark,
       (SELECT coalesce(max(id), 0) FROM dirty_dates) AS newest_date,
       EXISTS (SELECT FROM pg_stat_activity
               WHERE datname = current_database() AND application_name = 'rollo-rs-worker') AS is_attended

-- name: unread
-- Of the marks made up to $1, or of all: keys whose bars are still to be read.
SELECT count(DISTINCT (symbol, timeframe)) AS keys, clock_timestamp() AS now,
       EXISTS (SELECT FROM pg_stat_activity
               WHERE datname = current_database() AND application_name = 'rollo-detector') AS is_attended
FROM unread_bars WHERE marked_at <= coalesce($1::timestamptz, 'infinity')

-- name: wyckoff_events
SELECT count(*) FROM wyckoff_events WHERE symbol = ANY($1::text[])

-- name: scored_dates
SELECT count(*) FROM rs_dates d
WHERE d.as_of BETWEEN $1 AND $2 AND EXISTS (SELECT FROM rs_scores s WHERE s.as_of = d.as_of)

-- name: has_bars
SELECT EXISTS (SELECT FROM bars)

-- name: held
-- Which bars of some symbols and timeframes are stored, between two times each: a scan of the primary key.
SELECT k.i, b.ts
FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[])
     WITH ORDINALITY AS k(symbol, timeframe, first_ts, last_ts, i)
JOIN bars b ON b.symbol = k.symbol AND b.timeframe = k.timeframe AND b.ts BETWEEN k.first_ts AND k.last_ts

-- name: counts
-- How many bars of some symbols and timeframes are stored, between two times each (microseconds since 1970): a
-- scan of the primary key.
SELECT k.i, count(*) AS bars
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[])
     WITH ORDINALITY AS k(symbol, timeframe, first_us, last_us, i)
JOIN bars b ON b.symbol = k.symbol AND b.timeframe = k.timeframe
           AND b.ts BETWEEN timestamptz 'epoch' + k.first_us * interval '1 microsecond'
                        AND timestamptz 'epoch' + k.last_us * interval '1 microsecond'
GROUP BY k.i
