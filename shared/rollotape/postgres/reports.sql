-- name: vitals
-- What the health of the whole is judged by: only look-ups that cost the same however much is stored.
SELECT split_part(current_setting('server_version'), ' ', 1) AS version,
       current_setting('max_connections')::int AS most_connections,
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections,
       (SELECT version_num FROM alembic_version) AS schema,
       i.partitions, i.epoch::text AS epoch,
       (SELECT extract(epoch FROM clock_timestamp() - o.created_at)::float8 FROM outbox o ORDER BY o.id LIMIT 1) AS oldest_unsaid_s
FROM installation i

-- name: workers
-- Services that are connected, by how many connections.
SELECT replace(application_name, 'rollo-', '') AS service, count(*) AS connections FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE 'rollo-%' GROUP BY 1

-- name: held
-- Partitions that somebody works on, by service.
SELECT service, count(*) AS partitions FROM leases WHERE expires_at > now() GROUP BY service

-- name: newest
-- Of every timeframe when its newest bar was complete; a table of a few rows.
SELECT timeframe, max(end_ts) AS end_ts FROM newest_bars GROUP BY timeframe

-- name: symbols
-- Symbols as they are listed, by sector and exchange, and how many of them are active: each is looked up in the index
-- of bars. Asked once in some seconds, whoever wants it.
SELECT s.sector, e.exchange, count(*) AS symbols, count(*) FILTER (WHERE a.active) AS active
FROM (SELECT symbol FROM symbol_state UNION SELECT symbol FROM sectors) k
LEFT JOIN sectors s ON s.symbol = k.symbol
LEFT JOIN exchanges e ON e.symbol = k.symbol
CROSS JOIN LATERAL (
    SELECT EXISTS (SELECT FROM unnest($1::text[]) AS t(timeframe)
                   JOIN bars b ON b.symbol = k.symbol AND b.timeframe = t.timeframe AND b.ts >= $2::timestamptz) AS active
) a
GROUP BY s.sector, e.exchange

-- name: bytes
SELECT pg_database_size(current_database())
