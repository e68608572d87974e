-- name: lock
-- Of two changes of one owner the later one sees what the other did. Held until the transaction ends.
SELECT pg_advisory_xact_lock(hashtextextended($1, 7100419))
