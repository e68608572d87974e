-- name: tables
-- Every table of ours with its columns and about how many rows it has. What the schema will add later is
-- backed up as well; $1 are those that speak of running processes, or of one Redis.
SELECT c.relname AS name, c.reltuples::bigint AS about,
       array_agg(a.attname::text ORDER BY a.attnum) FILTER (WHERE a.attgenerated = '') AS columns
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace AND c.relname <> ALL($1::text[])
GROUP BY c.oid, c.relname, c.reltuples
ORDER BY c.relname

-- name: references
-- A table is filled after those that its foreign keys name.
SELECT k.conrelid::regclass::text AS source, k.confrelid::regclass::text AS target
FROM pg_constraint k
WHERE k.contype = 'f' AND k.connamespace = current_schema()::regnamespace AND k.conrelid <> k.confrelid

-- name: sequences
SELECT sequencename AS name, last_value FROM pg_sequences
WHERE schemaname = current_schema() AND last_value IS NOT NULL ORDER BY 1

-- name: raise_sequence
-- Never lower than it stands: read models remember versions of the database that was here before.
SELECT setval(quote_ident($1)::regclass, greatest($2::bigint, (
    SELECT coalesce(last_value, 1) FROM pg_sequences WHERE schemaname = current_schema() AND sequencename = $1)))

-- name: revision
SELECT version_num FROM alembic_version

-- name: installation
SELECT partitions, epoch::text AS epoch, current_setting('server_version') AS server FROM installation

-- name: new_epoch
-- Ids and cached answers of before mean another content: whoever remembers them is told.
UPDATE installation SET epoch = gen_random_uuid() RETURNING epoch::text

-- name: alive
-- Services that work on this database, connected or heard of a moment ago.
SELECT DISTINCT replace(application_name, 'rollo-', '') AS name FROM pg_stat_activity
WHERE datname = current_database() AND application_name = ANY($1::text[])
UNION
SELECT name FROM replicas WHERE seen_at > now() - make_interval(secs => $2)
ORDER BY 1
