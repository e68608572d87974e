DROP TABLE sector_mapping, rs_scores, dirty_dates, rs_dates, sectors;
ALTER TABLE dirty_symbols DROP COLUMN last_ts;
COMMENT ON TABLE dirty_symbols IS 'Marks: bars of this symbol changed from first_ts on. The queue of the workers that go across symbols. Written by detector.';
