-- Ids are derived anew with everything else that follows from bars: patterns and trades of the old ids are retracted
-- by the readers, and those of the new ones take their place.
INSERT INTO unread_bars (symbol, timeframe, first_ts, last_ts)
SELECT k.symbol, k.timeframe, min(b.ts), max(b.ts)
FROM (SELECT DISTINCT symbol, timeframe FROM patterns WHERE confirmed_ts IS NOT NULL) k
JOIN bars b ON b.symbol = k.symbol AND b.timeframe = k.timeframe
GROUP BY k.symbol, k.timeframe ORDER BY k.symbol, k.timeframe;
