DROP SEQUENCE read_model_versions;
