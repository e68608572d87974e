-- name: beat
-- One replica says that it lives, forgets the dead, and learns who else lives. One statement, so that a
-- process stopped between two of them holds no lock.
WITH me AS (
    INSERT INTO replicas (service, name, seen_at) VALUES ($1, $2, now())
    ON CONFLICT (service, name) DO UPDATE SET seen_at = excluded.seen_at
), dead AS (
    DELETE FROM replicas
    WHERE service = $1 AND name <> $2 AND seen_at <= now() - make_interval(secs => $3)
)
SELECT name FROM replicas WHERE service = $1 AND seen_at > now() - make_interval(secs => $3)
UNION
SELECT $2;

-- name: renew
-- Also what expired and nobody took: it is still ours.
UPDATE leases SET expires_at = now() + make_interval(secs => $3)
WHERE service = $1 AND owner = $2
RETURNING partition;

-- name: grab
-- Up to $5 of the partitions 0..$4-1 that are free or expired. In order, so that two replicas that grab at
-- once wait for each other instead of deadlocking; the second one gets what the first one left.
INSERT INTO leases AS l (service, partition, owner, expires_at)
SELECT $1, p, $2, now() + make_interval(secs => $3)
FROM generate_series(0, $4::integer - 1) AS p
WHERE NOT EXISTS (SELECT FROM leases WHERE service = $1 AND partition = p AND expires_at > now())
ORDER BY p LIMIT $5
ON CONFLICT (service, partition) DO UPDATE SET owner = excluded.owner, expires_at = excluded.expires_at
    WHERE l.expires_at <= now()
RETURNING partition;

-- name: release
-- Only what is still ours: a lease that expired may have another owner by now.
DELETE FROM leases WHERE service = $1 AND owner = $2 AND partition = ANY($3::integer[]);

-- name: retire
-- A replica that stops counts no longer, and its partitions are free at once.
WITH gone AS (DELETE FROM replicas WHERE service = $1 AND name = $2)
DELETE FROM leases WHERE service = $1 AND owner = $2;
