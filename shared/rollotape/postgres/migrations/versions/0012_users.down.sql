DROP TABLE idempotency_keys, saved_scans, watchlists;
