CREATE TABLE entrants (
    scan_id    uuid NOT NULL REFERENCES saved_scans (id) ON DELETE CASCADE,
    symbol     text COLLATE "C" NOT NULL,
    entered_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (scan_id, symbol)
);
CREATE INDEX idx_entrants_symbol ON entrants (symbol);
COMMENT ON TABLE entrants IS 'Derived: the symbols of which a saved scan finds a pattern now. Written by cache-builder, in the transaction that has the newcomers told.';
COMMENT ON COLUMN entrants.entered_at IS 'When this was seen, not when it began to be so.';

CREATE TABLE unscanned (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    symbol      text COLLATE "C",
    scan_id     uuid,
    knowable_at timestamptz,
    marked_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE unscanned IS 'Marks: something changed that decides which saved scans a symbol is in, or which symbols are in a saved scan. Written by triggers, in the transaction that changed it; taken by cache-builder.';
COMMENT ON COLUMN unscanned.symbol IS 'To be looked at for every saved scan.';
COMMENT ON COLUMN unscanned.scan_id IS 'Its owner changed it, or it is gone: all symbols are looked at, and nobody is told. Neither symbol nor scan: every scan, the same way.';
COMMENT ON COLUMN unscanned.knowable_at IS 'From when on the change could be known. More than a day before marked_at it is historical, as it is where nothing can have come in by it (null).';

CREATE TABLE scan_clocks (
    timeframe text COLLATE "C" PRIMARY KEY,
    seen_to   timestamptz NOT NULL
);
COMMENT ON TABLE scan_clocks IS 'Up to where the ends of patterns were seen: by the clock (the empty timeframe), and of our own by the newest bar of their timeframe. What ended later is still to be looked at. Written by cache-builder.';

CREATE TABLE scan_turns (turn bigint NOT NULL);
COMMENT ON TABLE scan_turns IS 'One row: how often cache-builder has looked for entrants. Of two that look at once it stops the one that saw less, and it is the version of what they tell.';
INSERT INTO scan_turns (turn) VALUES (0);

CREATE FUNCTION mark_scans_of_patterns() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO unscanned (symbol, knowable_at)
        SELECT symbol, max(greatest(detected_at, confirmed_at)) FROM new_rows WHERE status = 'active' GROUP BY symbol;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO unscanned (symbol) SELECT DISTINCT symbol FROM old_rows WHERE status = 'active';
    ELSE
        INSERT INTO unscanned (symbol, knowable_at)
        SELECT w.symbol, max(w.knowable_at)
        FROM old_rows o FULL JOIN new_rows n USING (id)
        CROSS JOIN LATERAL (VALUES (o.symbol, NULL), (n.symbol, greatest(n.detected_at, n.confirmed_at))) AS w(symbol, knowable_at)
        WHERE w.symbol IS NOT NULL
          AND (o.id, o.symbol, o.status, o.pattern_type, o.timeframe, o.side, o.phase, o.confidence, o.rs_ratio, o.rs_excess,
               o.vol_ratio, o.rsi, o.test_confirmed, o.expires_at, o.confirmed_ts IS NULL)
              IS DISTINCT FROM
              (n.id, n.symbol, n.status, n.pattern_type, n.timeframe, n.side, n.phase, n.confidence, n.rs_ratio, n.rs_excess,
               n.vol_ratio, n.rsi, n.test_confirmed, n.expires_at, n.confirmed_ts IS NULL)
        GROUP BY w.symbol;
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION mark_scans_of_patterns IS 'Symbols with patterns that came, went, or say something else that a scan may ask for.';
CREATE TRIGGER mark_scans_inserted AFTER INSERT ON patterns REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION mark_scans_of_patterns();
CREATE TRIGGER mark_scans_updated AFTER UPDATE ON patterns REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION mark_scans_of_patterns();
CREATE TRIGGER mark_scans_deleted AFTER DELETE ON patterns REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION mark_scans_of_patterns();

CREATE FUNCTION session_close(date) RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ($1 + time '16:00') AT TIME ZONE 'America/New_York';
COMMENT ON FUNCTION session_close IS 'From when on a score of a day can be known.';

CREATE FUNCTION mark_scans_of_scores() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO unscanned (symbol, knowable_at)
    SELECT m.symbol, session_close(m.as_of) FROM sector_mapping m
    WHERE m.rs_score IS NOT NULL
      AND (SELECT max(n.as_of) FROM new_rows n WHERE n.as_of <= m.as_of)
          >= coalesce((SELECT max(r.as_of) FROM rs_scores r WHERE r.symbol = m.symbol AND r.as_of <= m.as_of), '-infinity');
    RETURN NULL;
END $$;
COMMENT ON FUNCTION mark_scans_of_scores IS 'Symbols whose newest score up to the day of the mapping may have changed: rs-worker counts up the version of every day whose scores it changes.';
CREATE TRIGGER mark_scans AFTER UPDATE ON rs_dates REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION mark_scans_of_scores();

CREATE FUNCTION mark_scans_of_mapping() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO unscanned (symbol, knowable_at) SELECT symbol, session_close(as_of) FROM new_rows;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO unscanned (symbol, knowable_at) SELECT symbol, session_close(as_of) FROM old_rows;
    ELSE
        INSERT INTO unscanned (symbol, knowable_at)
        SELECT symbol, session_close(n.as_of) FROM old_rows o JOIN new_rows n USING (symbol)
        WHERE (o.sector, o.as_of, o.rs_score, o.is_sector_leader)
              IS DISTINCT FROM (n.sector, n.as_of, n.rs_score, n.is_sector_leader);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION mark_scans_of_mapping IS 'Symbols whose strength, sector or place among the leaders changed.';
CREATE TRIGGER mark_scans_inserted AFTER INSERT ON sector_mapping REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION mark_scans_of_mapping();
CREATE TRIGGER mark_scans_updated AFTER UPDATE ON sector_mapping REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION mark_scans_of_mapping();
CREATE TRIGGER mark_scans_deleted AFTER DELETE ON sector_mapping REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION mark_scans_of_mapping();

CREATE FUNCTION mark_scans_of_symbols() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO unscanned (symbol, knowable_at) SELECT symbol, clock_timestamp() FROM new_rows;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO unscanned (symbol, knowable_at) SELECT symbol, clock_timestamp() FROM old_rows;
    ELSE
        INSERT INTO unscanned (symbol, knowable_at)
        SELECT DISTINCT w.symbol, clock_timestamp()
        FROM ((TABLE old_rows EXCEPT TABLE new_rows) UNION ALL (TABLE new_rows EXCEPT TABLE old_rows)) w;
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION mark_scans_of_symbols IS 'Symbols that are in another sector, or listed elsewhere, from now on.';
CREATE TRIGGER mark_scans_inserted AFTER INSERT ON sectors REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION mark_scans_of_symbols();
CREATE TRIGGER mark_scans_updated AFTER UPDATE ON sectors REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION mark_scans_of_symbols();
CREATE TRIGGER mark_scans_deleted AFTER DELETE ON sectors REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION mark_scans_of_symbols();
CREATE TRIGGER mark_scans_inserted AFTER INSERT ON exchanges REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION mark_scans_of_symbols();
CREATE TRIGGER mark_scans_updated AFTER UPDATE ON exchanges REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION mark_scans_of_symbols();
CREATE TRIGGER mark_scans_deleted AFTER DELETE ON exchanges REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION mark_scans_of_symbols();

CREATE FUNCTION mark_scans_of_members() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO unscanned (symbol, knowable_at)
    SELECT DISTINCT symbol, clock_timestamp()
    FROM ((SELECT unnest(OLD.symbols) EXCEPT SELECT unnest(NEW.symbols))
          UNION ALL (SELECT unnest(NEW.symbols) EXCEPT SELECT unnest(OLD.symbols))) AS w(symbol);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION mark_scans_of_members IS 'Symbols that came into a list, or left it.';
CREATE TRIGGER mark_scans AFTER INSERT OR UPDATE OR DELETE ON universes
    FOR EACH ROW EXECUTE FUNCTION mark_scans_of_members();

CREATE FUNCTION mark_scan() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO unscanned (scan_id) VALUES (coalesce(NEW.id, OLD.id));
    RETURN NULL;
END $$;
COMMENT ON FUNCTION mark_scan IS 'A saved scan that is new, gone, or asks for something else.';
CREATE TRIGGER mark_scan AFTER INSERT OR DELETE ON saved_scans FOR EACH ROW EXECUTE FUNCTION mark_scan();
CREATE TRIGGER mark_scan_updated AFTER UPDATE ON saved_scans FOR EACH ROW
    WHEN (OLD.filters IS DISTINCT FROM NEW.filters) EXECUTE FUNCTION mark_scan();

CREATE FUNCTION mark_scans_of_watchlist() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO unscanned (scan_id) SELECT id FROM saved_scans WHERE watchlist_id = NEW.id;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION mark_scans_of_watchlist IS 'Saved scans whose watchlist was changed by its owner. One that is just being saved cannot be seen from here: its own mark has it looked at with the watchlist as it is then.';
CREATE TRIGGER mark_scans AFTER UPDATE ON watchlists FOR EACH ROW
    WHEN (OLD.symbols IS DISTINCT FROM NEW.symbols) EXECUTE FUNCTION mark_scans_of_watchlist();

CREATE FUNCTION mark_every_scan() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO unscanned DEFAULT VALUES;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION mark_every_scan IS 'Of a table that is emptied nobody is told which rows it had.';
CREATE TRIGGER mark_every_scan AFTER TRUNCATE ON patterns FOR EACH STATEMENT EXECUTE FUNCTION mark_every_scan();
CREATE TRIGGER mark_every_scan AFTER TRUNCATE ON sector_mapping FOR EACH STATEMENT EXECUTE FUNCTION mark_every_scan();
CREATE TRIGGER mark_every_scan AFTER TRUNCATE ON rs_scores FOR EACH STATEMENT EXECUTE FUNCTION mark_every_scan();
CREATE TRIGGER mark_every_scan AFTER TRUNCATE ON sectors FOR EACH STATEMENT EXECUTE FUNCTION mark_every_scan();
CREATE TRIGGER mark_every_scan AFTER TRUNCATE ON exchanges FOR EACH STATEMENT EXECUTE FUNCTION mark_every_scan();
CREATE TRIGGER mark_every_scan AFTER TRUNCATE ON universes FOR EACH STATEMENT EXECUTE FUNCTION mark_every_scan();
CREATE TRIGGER mark_every_scan AFTER TRUNCATE ON entrants FOR EACH STATEMENT EXECUTE FUNCTION mark_every_scan();

-- What was stored before anybody looked, silently.
INSERT INTO scan_clocks (timeframe, seen_to)
SELECT '', clock_timestamp() UNION ALL SELECT timeframe, max(end_ts) FROM newest_bars GROUP BY timeframe;
INSERT INTO unscanned DEFAULT VALUES;
