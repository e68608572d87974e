-- Memory about a symbol is valid for one version of it. Nothing of ours deletes bars, so this costs nothing until
-- somebody does: then a bar that is sent again must be judged by what is stored.
CREATE FUNCTION forget_symbols() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        UPDATE symbol_state SET version = version + 1, nonce = floor(random() * 2::float8 ^ 62)::bigint + 1;
    ELSE
        UPDATE symbol_state SET version = version + 1, nonce = floor(random() * 2::float8 ^ 62)::bigint + 1
        WHERE symbol IN (SELECT symbol FROM gone);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER forget_deleted AFTER DELETE ON bars
REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION forget_symbols();
CREATE TRIGGER forget_truncated AFTER TRUNCATE ON bars FOR EACH STATEMENT EXECUTE FUNCTION forget_symbols();
COMMENT ON FUNCTION forget_symbols() IS 'What workers have in memory of a symbol is void when somebody deletes its bars.';
