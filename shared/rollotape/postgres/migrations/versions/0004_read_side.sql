CREATE SEQUENCE read_model_versions;
COMMENT ON SEQUENCE read_model_versions IS 'Versions of read models, taken under their lock: of two changes, the one that read this database later has the greater one, also after Redis lost its own. Never given out twice, whoever rolled back. Taken by cache-builder.';
