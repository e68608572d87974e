-- name: end_stale
-- A worker that was stopped while it received rows holds its locks, and no time limit of PostgreSQL sees it.
-- Only the workers' own transactions: a snapshot of `rollo verify` may take as long as it needs.
SELECT pid, application_name, extract(epoch FROM now() - xact_start)::float8 AS age_s, pg_terminate_backend(pid)
FROM pg_stat_activity
WHERE application_name = ANY($1::text[]) AND datname = current_database() AND usename = current_user
    AND pid <> pg_backend_pid() AND xact_start < now() - make_interval(secs => $2);
