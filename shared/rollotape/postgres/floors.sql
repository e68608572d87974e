-- name: raise_floor
-- Written before the entries below it are trimmed: a crash in between leaves a floor that is too high, which
-- costs a client a gap it need not have been told of; the other order would lose entries in silence.
INSERT INTO stream_floors AS f (stream, floor) VALUES ($1, $2)
ON CONFLICT (stream) DO UPDATE SET floor = excluded.floor, trimmed_at = now()
    WHERE (split_part(f.floor, '-', 1)::numeric, split_part(f.floor, '-', 2)::numeric)
        < (split_part(excluded.floor, '-', 1)::numeric, split_part(excluded.floor, '-', 2)::numeric);

-- name: floor
SELECT floor FROM stream_floors WHERE stream = $1;

-- name: try_lock
-- Held by the session, not by a transaction: the janitor works on Redis meanwhile.
SELECT pg_try_advisory_lock(hashtextextended('rollo-janitor', 0));

-- name: unlock
SELECT pg_advisory_unlock(hashtextextended('rollo-janitor', 0));
