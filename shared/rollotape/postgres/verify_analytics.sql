-- name: days
-- Every day on which a trade was closed, and every day that has rollups, whether or not it should.
SELECT DISTINCT new_york_day(exit_date) FROM signals WHERE status = 'CLOSED'
UNION SELECT DISTINCT day FROM performance_days
UNION SELECT DISTINCT period FROM performance_headlines
ORDER BY 1

-- name: due
-- Null where the standing of sectors is due.
SELECT day FROM unrolled_days WHERE num_nonnulls(pattern_id, symbol) = 0
UNION
SELECT new_york_day(s.exit_date) FROM unrolled_days u JOIN signals s ON s.pattern_id = u.pattern_id
WHERE s.status = 'CLOSED'
UNION
SELECT new_york_day(s.exit_date) FROM unrolled_days u JOIN signals s ON s.symbol = u.symbol
WHERE s.status = 'CLOSED'

-- name: trades
-- As they are stored, beside what is known of their patterns and symbols.
SELECT s.id, s.exit_date, s.entry_date, s.entry_session, s.exit_session, s.entry_price, s.exit_price, s.stop,
       s.r, s.sessions_held, s.pattern_type, s.direction, s.timeframe, s.origin,
       p.phase, p.test_confirmed, p.confirmed_at, x.sector, x.kind
FROM signals s
LEFT JOIN patterns p ON p.id = s.pattern_id
LEFT JOIN sectors x ON x.symbol = s.symbol
WHERE s.status = 'CLOSED' AND s.exit_date >= $1 AND s.exit_date < $2

-- name: kinds
SELECT day, pattern_type, phase, direction, sector, timeframe, origin, test_confirmed, trades, wins, losses,
       r_sum, r_won, r_lost, r_squares, r_high, r_low, r_fall, held, last_exit
FROM performance_days WHERE day = $1

-- name: headlines
SELECT grain, period, heading, name, phase, timeframe, origin, test, trades, wins, losses,
       r_sum, r_won, r_lost, r_squares, r_high, r_low, r_fall, held, last_exit, last_r, last_wins, last_sum
FROM performance_headlines WHERE period = $1 AND grain = $2

-- name: stocks
SELECT sector, etf, rs_score, is_sector_leader FROM sector_mapping

-- name: standings
SELECT sector, leader_count, etf, middle FROM sector_standings
