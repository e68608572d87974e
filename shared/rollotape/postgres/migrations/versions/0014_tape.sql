CREATE INDEX idx_vsa_events_knowable_at ON vsa_events (knowable_at);

CREATE TABLE changed_answers (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dataset text COLLATE "C" NOT NULL,
    due_at  timestamptz NOT NULL
);
COMMENT ON TABLE changed_answers IS 'Marks: what answers of a dataset are made of changed, in the transaction that changed it. Written by triggers; taken by cache-builder, which counts the generation of the dataset up.';
COMMENT ON COLUMN changed_answers.due_at IS 'When that is seen: at once, or when an event that becomes known later has become known.';
INSERT INTO generations (dataset) VALUES ('tape');

CREATE FUNCTION mark_tape() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO changed_answers (dataset, due_at) VALUES ('tape', clock_timestamp());
    RETURN NULL;
END $$;
COMMENT ON FUNCTION mark_tape IS 'Counts of volume-spread events are others now.';

CREATE FUNCTION mark_events() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    seen timestamptz := clock_timestamp();
BEGIN
    IF TG_OP = 'DELETE' THEN
        INSERT INTO changed_answers (dataset, due_at) SELECT 'tape', seen FROM old_rows LIMIT 1;
    ELSE
        INSERT INTO changed_answers (dataset, due_at) SELECT DISTINCT 'tape', greatest(seen, knowable_at) FROM new_rows;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        INSERT INTO changed_answers (dataset, due_at) SELECT 'tape', seen FROM old_rows LIMIT 1;
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION mark_events IS 'Events that came, went, or are confirmed otherwise; one that is known only later counts then.';
CREATE TRIGGER mark_events_inserted AFTER INSERT ON vsa_events REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION mark_events();
CREATE TRIGGER mark_events_updated AFTER UPDATE ON vsa_events REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION mark_events();
CREATE TRIGGER mark_events_deleted AFTER DELETE ON vsa_events REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION mark_events();
CREATE TRIGGER mark_events_emptied AFTER TRUNCATE ON vsa_events FOR EACH STATEMENT EXECUTE FUNCTION mark_tape();

CREATE FUNCTION mark_counts() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    seen timestamptz := clock_timestamp();
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO changed_answers (dataset, due_at) SELECT DISTINCT 'tape', greatest(seen, detected_at) FROM new_rows;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO changed_answers (dataset, due_at) SELECT 'tape', seen FROM old_rows LIMIT 1;
    ELSE
        INSERT INTO changed_answers (dataset, due_at)
        SELECT DISTINCT 'tape', unnest(ARRAY[seen, greatest(seen, n.detected_at)])
        FROM old_rows o FULL JOIN new_rows n USING (id)
        WHERE (o.id, o.symbol, o.timeframe, o.source, o.pattern_type, o.phase, o.detected_at, o.vsa_events, o.vsa_events_classic)
              IS DISTINCT FROM (n.id, n.symbol, n.timeframe, n.source, n.pattern_type, n.phase, n.detected_at, n.vsa_events,
                                n.vsa_events_classic);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION mark_counts IS 'Patterns that came, went, or have other counts of events.';
CREATE TRIGGER mark_counts_inserted AFTER INSERT ON patterns REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION mark_counts();
CREATE TRIGGER mark_counts_updated AFTER UPDATE ON patterns REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION mark_counts();
CREATE TRIGGER mark_counts_deleted AFTER DELETE ON patterns REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION mark_counts();
CREATE TRIGGER mark_counts_emptied AFTER TRUNCATE ON patterns FOR EACH STATEMENT EXECUTE FUNCTION mark_tape();

CREATE TRIGGER mark_tape AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON sectors
    FOR EACH STATEMENT EXECUTE FUNCTION mark_tape();
