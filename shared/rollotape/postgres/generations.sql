-- name: moment
-- What every key of an answer is made of, in one row and by look-ups in indexes: asked a few times a second, once for
-- everybody. A trade may have an exit that is still to come by the clock; when it comes, answers change with no mark.
SELECT i.epoch::text AS epoch, g.generation,
       (extract(epoch FROM g.changed_at) * 1000000)::bigint AS changed_us,
       (extract(epoch FROM n.now) * 1000000)::bigint AS now_us,
       new_york_day(n.now)::text AS day,
       (SELECT (extract(epoch FROM min(s.exit_date)) * 1000000)::bigint FROM signals s
        WHERE s.status = 'CLOSED' AND s.exit_date > n.now) AS next_exit_us,
       coalesce((SELECT (extract(epoch FROM n.now - u.marked_at) * 1000000)::bigint FROM unrolled_days u
                 ORDER BY u.id LIMIT 1), 0) AS waiting_us
FROM installation i, generations g, (SELECT clock_timestamp() AS now) n
WHERE g.dataset = 'analytics'
