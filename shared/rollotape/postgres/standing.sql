-- name: server
SELECT current_setting('server_version_num')::int AS version_num, split_part(current_setting('server_version'), ' ', 1) AS version,
       current_setting('fsync') = 'on' AS fsync, pg_is_in_recovery() AS is_standby,
       extract(epoch FROM clock_timestamp())::float8 AS now_s, pg_database_size(current_database()) AS bytes,
       current_setting('max_connections')::int AS most_connections,
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections

-- name: at_work
-- Services that are connected to this database, whatever machine they run on.
SELECT replace(application_name, 'rollo-', '') AS service, count(*) AS connections FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE 'rollo-%' GROUP BY 1 ORDER BY 1

-- name: has_schema
SELECT to_regclass('alembic_version') IS NOT NULL AND to_regclass('installation') IS NOT NULL

-- name: installation
SELECT (SELECT version_num FROM alembic_version) AS revision, partitions, epoch::text AS epoch,
       (SELECT count(*) FROM symbol_state) AS symbols,
       (SELECT count(*) FROM dead_letters) AS dead_letters,
       (SELECT count(*) FROM outbox) AS unsaid,
       (SELECT extract(epoch FROM now() - min(created_at))::float8 FROM outbox) AS oldest_unsaid_s
FROM installation

-- name: strength
-- What of relative strength is due: marks, and the dates that came of them.
SELECT (SELECT count(*) FROM dirty_symbols WHERE timeframe = '1d') AS marks,
       (SELECT count(DISTINCT as_of) FROM dirty_dates) AS dates,
       (SELECT count(*) FROM sectors WHERE kind = 'stock') AS stocks

-- name: missing
-- Of the last $1 seconds, as `counted` of the gaps has them.
SELECT count(*) AS gaps, coalesce(sum(bars), 0)::bigint AS bars FROM gaps
WHERE kind <> 'pause' AND answer IS DISTINCT FROM 'nothing' AND last_ts >= now() - $1 * interval '1 second'

-- name: replicas
-- Who shares partitions, when each was last heard of, and how many of its leases hold.
SELECT r.service, r.name, extract(epoch FROM now() - r.seen_at)::float8 AS seen_s,
       (SELECT count(*) FROM leases l WHERE l.service = r.service AND l.owner = r.name AND l.expires_at > now())
           AS partitions
FROM replicas r ORDER BY r.service, r.name

-- name: keys
SELECT name, expires_at, expires_at <= now() AS expired FROM api_keys WHERE revoked_at IS NULL ORDER BY created_at
