-- name: vitals
-- What metrics say of the whole: look-ups that cost the same however much is stored, but for marks, which are few.
SELECT i.partitions,
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections,
       current_setting('max_connections')::int AS most_connections,
       pg_database_size(current_database()) AS bytes,
       (SELECT extract(epoch FROM clock_timestamp() - o.created_at)::float8 FROM outbox o ORDER BY o.id LIMIT 1) AS unsaid_s,
       (SELECT count(*) FROM dirty_symbols WHERE timeframe = '1d') AS marks,
       (SELECT min(id) FROM dirty_symbols WHERE timeframe = '1d') AS oldest_mark,
       (SELECT count(DISTINCT as_of) FROM dirty_dates) AS dates,
       (SELECT min(id) FROM dirty_dates) AS oldest_date
FROM installation i

-- name: owned
-- Partitions that somebody works on, and by how many replicas.
SELECT service, count(*) AS partitions, count(DISTINCT owner) AS owners
FROM leases WHERE expires_at > now() GROUP BY service

-- name: dead_letters
-- By the first field that was refused, of the newest: a heap of them is not read through every time.
SELECT service, coalesce(fields[1], '') AS field, count(*) AS letters
FROM (SELECT service, fields FROM dead_letters ORDER BY id DESC LIMIT 10000) newest
GROUP BY 1, 2

-- name: newest
-- Of every timeframe when its newest bar was complete; a table of a few rows.
SELECT timeframe, (extract(epoch FROM max(end_ts)) * 1000000)::bigint AS end_us FROM newest_bars GROUP BY timeframe

-- name: bars
-- Versions of the stored bars of some keys: what an acknowledged row must not exceed.
SELECT k.i, b.revision, b.synthetic, b.hash
FROM unnest($1::text[], $2::text[], $3::bigint[]) WITH ORDINALITY AS k(symbol, timeframe, ts_us, i)
JOIN bars b ON b.symbol = k.symbol AND b.timeframe = k.timeframe
           AND b.ts = timestamptz 'epoch' + k.ts_us * interval '1 microsecond'

-- name: buried
-- Which of some entries are dead letters as a whole: the primary key begins with what is looked for.
SELECT DISTINCT e.i FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS e(stream, entry_id, i)
JOIN dead_letters d ON d.stream = e.stream AND d.entry_id = e.entry_id AND d.row = 0
