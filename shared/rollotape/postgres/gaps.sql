-- name: only_auditor
-- One at a time is enough; the next one to ask goes on where this one stopped.
SELECT pg_try_advisory_xact_lock(hashtextextended('rollo-auditor', 0));

-- name: compact
-- One mark for each series says as much as many; where there are more than $1 of them.
WITH many AS (
    SELECT symbol, timeframe FROM unaudited_bars GROUP BY symbol, timeframe HAVING count(*) > $1
),
taken AS (
    DELETE FROM unaudited_bars WHERE id IN (
        SELECT u.id FROM unaudited_bars u JOIN many USING (symbol, timeframe)
        ORDER BY u.id LIMIT 100000 FOR UPDATE OF u SKIP LOCKED)
    RETURNING symbol, timeframe, first_ts, last_ts
)
INSERT INTO unaudited_bars (symbol, timeframe, first_ts, last_ts)
SELECT symbol, timeframe, min(first_ts), max(last_ts) FROM taken GROUP BY symbol, timeframe;

-- name: newest
-- How far the bars of each timeframe go, whoever's they are, and our clock.
SELECT timeframe, max(end_ts) AS front FROM newest_bars GROUP BY timeframe;

-- name: take_marks
-- Deleted first, then the bars are read: what comes in between leaves a mark of its own. Marks up to $2 only:
-- what comes while a round goes on is for the next one.
DELETE FROM unaudited_bars u WHERE u.id IN (
    SELECT id FROM unaudited_bars WHERE id <= $2 ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED)
RETURNING u.symbol, u.timeframe, u.first_ts, u.last_ts;

-- name: newest_mark
SELECT coalesce(max(id), 0) FROM unaudited_bars;

-- name: mark
-- What is left of a series that is too long for one turn, or everything when it is asked for.
INSERT INTO unaudited_bars (symbol, timeframe, first_ts, last_ts)
SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[]);

-- name: mark_all
INSERT INTO unaudited_bars (symbol, timeframe, first_ts, last_ts)
SELECT symbol, timeframe, '-infinity', 'infinity' FROM audited_series;

-- name: due
-- Series of a timeframe that are followed and were looked at up to an earlier time only.
SELECT symbol, timeframe FROM audited_series
WHERE timeframe = $1 AND until < $2 AND followed ORDER BY until LIMIT $3;

-- name: until
SELECT a.symbol, a.timeframe, a.until
FROM unnest($1::text[], $2::text[]) AS k(symbol, timeframe)
JOIN audited_series a ON a.symbol = k.symbol AND a.timeframe = k.timeframe;

-- name: edges
-- The stored bars on both sides of a span: a step along the primary key each. Only bars that may be expected
-- count: regular ones, and half hours on the half hour.
SELECT k.i,
       (SELECT b.ts FROM bars b
        WHERE b.symbol = k.symbol AND b.timeframe = k.timeframe AND b.ts < k.first_ts AND b.hours = 'regular'
          AND (b.timeframe <> '30m' OR extract(minute FROM b.ts) IN (0, 30))
        ORDER BY b.ts DESC LIMIT 1) AS before,
       (SELECT b.ts FROM bars b
        WHERE b.symbol = k.symbol AND b.timeframe = k.timeframe AND b.ts > k.last_ts AND b.hours = 'regular'
          AND (b.timeframe <> '30m' OR extract(minute FROM b.ts) IN (0, 30))
        ORDER BY b.ts LIMIT 1) AS after
FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[])
     WITH ORDINALITY AS k(symbol, timeframe, first_ts, last_ts, i);

-- name: stored
-- The starts of the bars between two times and of one on either side, at most $5 of them; in microseconds, for
-- a list of them is read quicker than as many times.
SELECT k.i, array_agg((extract(epoch FROM b.ts) * 1000000)::bigint ORDER BY b.ts) AS starts
FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[])
     WITH ORDINALITY AS k(symbol, timeframe, first_ts, last_ts, i)
CROSS JOIN LATERAL (
    SELECT coalesce((SELECT p.ts FROM bars p
                     WHERE p.symbol = k.symbol AND p.timeframe = k.timeframe AND p.ts < k.first_ts
                       AND p.hours = 'regular' AND (p.timeframe <> '30m' OR extract(minute FROM p.ts) IN (0, 30))
                     ORDER BY p.ts DESC LIMIT 1), k.first_ts) AS since,
           coalesce((SELECT n.ts FROM bars n
                     WHERE n.symbol = k.symbol AND n.timeframe = k.timeframe AND n.ts >= k.last_ts
                       AND n.hours = 'regular' AND (n.timeframe <> '30m' OR extract(minute FROM n.ts) IN (0, 30))
                     ORDER BY n.ts LIMIT 1), 'infinity') AS until
) e
CROSS JOIN LATERAL (
    SELECT b.ts FROM bars b
    WHERE b.symbol = k.symbol AND b.timeframe = k.timeframe AND b.ts BETWEEN e.since AND e.until
      AND b.hours = 'regular' AND (b.timeframe <> '30m' OR extract(minute FROM b.ts) IN (0, 30))
    ORDER BY b.ts LIMIT $5
) b
GROUP BY k.i;

-- name: forget
-- Of spans that were looked at: what is no gap any more. Both ends of a span are infinite where it has none.
DELETE FROM gaps g
USING unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[]) AS s(symbol, timeframe, after_ts, last_ts)
WHERE g.symbol = s.symbol AND g.timeframe = s.timeframe AND g.first_ts > s.after_ts AND g.first_ts <= s.last_ts
  AND NOT EXISTS (SELECT FROM unnest($5::text[], $6::text[], $7::timestamptz[]) AS n(symbol, timeframe, first_ts)
                  WHERE n.symbol = g.symbol AND n.timeframe = g.timeframe AND n.first_ts = g.first_ts);

-- name: store
-- One that has grown or shrunk is another one; that it was found stays.
INSERT INTO gaps AS g (symbol, timeframe, first_ts, last_ts, bars, kind, next_ask_at)
SELECT n.*, now() + $7 * interval '1 second'
FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::int[], $6::text[])
     AS n(symbol, timeframe, first_ts, last_ts, bars, kind)
ON CONFLICT (symbol, timeframe, first_ts) DO UPDATE SET
    last_ts = EXCLUDED.last_ts, bars = EXCLUDED.bars, kind = EXCLUDED.kind, asks = 0, answer = NULL,
    next_ask_at = least(g.next_ask_at, EXCLUDED.next_ask_at)
WHERE (g.last_ts, g.bars, g.kind) IS DISTINCT FROM (EXCLUDED.last_ts, EXCLUDED.bars, EXCLUDED.kind);

-- name: looked
INSERT INTO audited_series AS a (symbol, timeframe, until, followed)
SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::bool[])
ON CONFLICT (symbol, timeframe) DO UPDATE SET until = greatest(a.until, EXCLUDED.until), followed = EXCLUDED.followed
WHERE (a.until, a.followed) IS DISTINCT FROM (greatest(a.until, EXCLUDED.until), EXCLUDED.followed);

-- name: take
-- Requests that are due and that somebody serves ($1 symbols, null: any; $2 timeframes); nobody else takes them
-- for $5 seconds. What has been stored since the auditor looked is not asked for.
UPDATE gaps g SET asked_at = now(), asked_of = $3, next_ask_at = now() + $5 * interval '1 second'
FROM (SELECT f.symbol, f.timeframe, f.first_ts FROM gaps f
      WHERE f.kind = 'gap' AND f.answer IS DISTINCT FROM 'nothing' AND f.next_ask_at <= now() AND f.asks < $6
        AND f.timeframe = ANY($2::text[]) AND ($1::text[] IS NULL OR f.symbol = ANY($1::text[]))
        AND f.bars > (SELECT count(*) FROM (
            SELECT FROM bars b WHERE b.symbol = f.symbol AND b.timeframe = f.timeframe
                                 AND b.ts BETWEEN f.first_ts AND f.last_ts AND b.hours = 'regular'
            LIMIT f.bars) came)
      ORDER BY f.next_ask_at LIMIT $4 FOR UPDATE OF f SKIP LOCKED) AS d
WHERE g.symbol = d.symbol AND g.timeframe = d.timeframe AND g.first_ts = d.first_ts
RETURNING g.symbol, g.timeframe, (extract(epoch FROM g.first_ts) * 1000000)::bigint AS first_us,
          (extract(epoch FROM g.last_ts) * 1000000)::bigint AS last_us, g.bars;

-- name: answer
-- The gap itself goes when the bars are stored. One that has changed meanwhile is another one.
UPDATE gaps SET answer = $5, asks = asks + 1,
                next_ask_at = now() + least($6 * 2 ^ asks, $7) * interval '1 second'
WHERE symbol = $1 AND timeframe = $2 AND first_ts = timestamptz 'epoch' + $3::bigint * interval '1 microsecond'
  AND last_ts = timestamptz 'epoch' + $4::bigint * interval '1 microsecond';

-- name: put_off
-- Who was asked cannot be asked now; that is no answer.
UPDATE gaps SET next_ask_at = now() + $4 * interval '1 second'
WHERE symbol = $1 AND timeframe = $2 AND first_ts = timestamptz 'epoch' + $3::bigint * interval '1 microsecond';

-- name: listed
-- The newest first. $1 symbols and $2 timeframes: null for all. $5: also what is explained, and pauses.
SELECT symbol, timeframe, first_ts, last_ts, bars, kind, found_at, asks, asked_at, asked_of, answer
FROM gaps
WHERE ($1::text[] IS NULL OR symbol = ANY($1::text[])) AND ($2::text[] IS NULL OR timeframe = ANY($2::text[]))
  AND last_ts >= coalesce($3::timestamptz, '-infinity') AND first_ts < coalesce($4::timestamptz, 'infinity')
  AND ($5 OR kind = 'gap' AND answer IS DISTINCT FROM 'nothing')
ORDER BY first_ts DESC, symbol, timeframe LIMIT $6;

-- name: ask_again
-- As if they had just been found: also what was asked in vain, and what is said to be nothing.
UPDATE gaps SET asks = 0, answer = NULL, next_ask_at = now()
WHERE ($1::text[] IS NULL OR symbol = ANY($1::text[])) AND ($2::text[] IS NULL OR timeframe = ANY($2::text[]))
  AND last_ts >= coalesce($3::timestamptz, '-infinity') AND first_ts < coalesce($4::timestamptz, 'infinity')
  AND kind = 'gap'
RETURNING 1;

-- name: standing
-- How much of it all there is that may be asked for, and whether anybody looks.
SELECT (SELECT count(*) FROM audited_series) AS series,
       (SELECT count(DISTINCT (symbol, timeframe)) FROM unaudited_bars) AS waiting,
       count(*) AS gaps, coalesce(sum(bars), 0)::bigint AS bars
FROM gaps
WHERE ($1::text[] IS NULL OR symbol = ANY($1::text[])) AND ($2::text[] IS NULL OR timeframe = ANY($2::text[]))
  AND last_ts >= coalesce($3::timestamptz, '-infinity') AND first_ts < coalesce($4::timestamptz, 'infinity')
  AND ($5 OR kind = 'gap' AND answer IS DISTINCT FROM 'nothing');

-- name: counted
-- `$1` seconds ago begins what is recent: of older ones nobody is woken.
SELECT timeframe,
       CASE WHEN kind = 'pause' THEN 'pause' WHEN answer = 'nothing' THEN 'nothing'
            WHEN last_ts >= now() - $1 * interval '1 second' THEN 'recent' ELSE 'old' END AS state,
       count(*) AS gaps, sum(bars)::bigint AS bars
FROM gaps GROUP BY 1, 2;
