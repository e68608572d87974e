ALTER TABLE api_keys
    ADD COLUMN owner        text,
    ADD COLUMN rate         integer CHECK (rate > 0),
    ADD COLUMN rotated_from text COLLATE "C" REFERENCES api_keys (id);
CREATE UNIQUE INDEX api_keys_rotated_from ON api_keys (rotated_from);
COMMENT ON COLUMN api_keys.owner IS 'Who has the watchlists and saved scans that are made with it. Null: the key alone, by its id.';
COMMENT ON COLUMN api_keys.rate IS 'Requests in a window; null: as many as ROLLO_RATE_REQUESTS says.';
COMMENT ON COLUMN api_keys.rotated_from IS 'The key that this one takes the place of; each is replaced once.';

CREATE TABLE audit_log (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL,
    request_id text COLLATE "C" NOT NULL,
    key_id     text COLLATE "C" NOT NULL,
    owner      text NOT NULL,
    address    text COLLATE "C",
    method     text COLLATE "C" NOT NULL,
    path       text NOT NULL,
    status     smallint NOT NULL
);
COMMENT ON TABLE audit_log IS 'Every request to the gateway that may write, with what became of it. Written and cut by the gateway.';
COMMENT ON COLUMN audit_log.at IS 'When the request came; rows older than ROLLO_AUDIT_DAYS are removed.';
COMMENT ON COLUMN audit_log.request_id IS 'As in the answer (X-Request-Id) and in the log of the gateway.';
COMMENT ON COLUMN audit_log.key_id IS 'The key; `jwt` for a token, `local` where no keys are asked for.';
COMMENT ON COLUMN audit_log.owner IS 'Owner of the key, or the `sub` of the token.';
COMMENT ON COLUMN audit_log.address IS 'The peer of the connection: behind a proxy, the proxy.';
COMMENT ON COLUMN audit_log.path IS 'Without the query, its first 500 characters.';
COMMENT ON COLUMN audit_log.status IS 'Of the answer; 0: the connection broke before there was one.';
CREATE INDEX audit_log_at ON audit_log (at);
