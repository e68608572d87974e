-- name: relations
-- Tables, views and sequences of ours with what is said of them.
SELECT c.oid, c.relname AS name, c.relkind::text AS kind, obj_description(c.oid, 'pg_class') AS said
FROM pg_class c
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'v', 'S') AND c.relname <> 'alembic_version'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype IN ('i', 'a') AND c.relkind = 'S')
ORDER BY c.relname COLLATE "C"

-- name: columns
SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, NOT a.attnotnull AS nullable,
       CASE WHEN a.attgenerated <> '' THEN 'follows from others' WHEN a.attidentity <> '' THEN 'counted'
            ELSE pg_get_expr(d.adbin, d.adrelid) END AS given,
       col_description(a.attrelid, a.attnum) AS said
FROM pg_attribute a
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum

-- name: constraints
-- Keys and references first, then what rows must satisfy; that a column is not null stands beside it.
SELECT conname AS name, pg_get_constraintdef(oid) AS said
FROM pg_constraint WHERE conrelid = $1 AND contype IN ('p', 'u', 'f', 'c')
ORDER BY array_position('{p,u,f,c}'::"char"[], contype), conname COLLATE "C"

-- name: indexes
-- Those that no constraint made.
SELECT c.relname AS name, pg_get_indexdef(i.indexrelid) AS said
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = $1 AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid)
ORDER BY c.relname COLLATE "C"

-- name: triggers
SELECT t.tgname AS name, p.proname AS function FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
WHERE t.tgrelid = $1 AND NOT t.tgisinternal
ORDER BY t.tgname COLLATE "C"

-- name: functions
SELECT p.proname AS name, pg_get_function_identity_arguments(p.oid) AS arguments,
       pg_get_function_result(p.oid) AS returns, obj_description(p.oid, 'pg_proc') AS said
FROM pg_proc p WHERE p.pronamespace = current_schema()::regnamespace
ORDER BY p.proname COLLATE "C"
