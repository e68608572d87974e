DROP TABLE gaps, audited_series, unaudited_bars;
