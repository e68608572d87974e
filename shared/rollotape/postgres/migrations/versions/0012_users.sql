CREATE TABLE watchlists (
    id         uuid PRIMARY KEY,
    owner      text COLLATE "C" NOT NULL,
    name       text COLLATE "C" NOT NULL CHECK (length(name) BETWEEN 1 AND 80),
    symbols    text[] COLLATE "C" NOT NULL CHECK (cardinality(symbols) <= 1000),
    version    integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    changed_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT watchlists_name UNIQUE (owner, name)
);
COMMENT ON TABLE watchlists IS 'An input: symbols that somebody watches. Written by the gateway.';
COMMENT ON COLUMN watchlists.owner IS 'Owner of a key, or the `sub` of a token; `local` where no keys are asked for.';
COMMENT ON COLUMN watchlists.symbols IS 'In the order in which they were given, each once; also those that nobody knows yet.';
COMMENT ON COLUMN watchlists.version IS 'Counts its changes.';

CREATE TABLE saved_scans (
    id           uuid PRIMARY KEY,
    owner        text COLLATE "C" NOT NULL,
    name         text COLLATE "C" NOT NULL CHECK (length(name) BETWEEN 1 AND 80),
    filters      jsonb NOT NULL,
    watchlist_id uuid REFERENCES watchlists (id),
    version      integer NOT NULL DEFAULT 1,
    created_at   timestamptz NOT NULL DEFAULT now(),
    changed_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT saved_scans_name UNIQUE (owner, name)
);
COMMENT ON TABLE saved_scans IS 'An input: filters and order of scans that somebody asks for again. Written by the gateway.';
COMMENT ON COLUMN saved_scans.owner IS 'As of a watchlist.';
COMMENT ON COLUMN saved_scans.filters IS 'Parameters of the scan by name, those alone that were given.';
COMMENT ON COLUMN saved_scans.watchlist_id IS 'The one among the filters, of the same owner: it is not removed while it is needed.';
COMMENT ON COLUMN saved_scans.version IS 'Counts its changes.';
CREATE INDEX saved_scans_watchlist ON saved_scans (watchlist_id) WHERE watchlist_id IS NOT NULL;

CREATE TABLE idempotency_keys (
    owner      text COLLATE "C" NOT NULL,
    key        text COLLATE "C" NOT NULL CHECK (length(key) BETWEEN 1 AND 200),
    request    bytea NOT NULL CHECK (length(request) = 32),
    location   text NOT NULL,
    etag       text NOT NULL,
    body       bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner, key)
);
COMMENT ON TABLE idempotency_keys IS 'Answers to requests with an `Idempotency-Key`, kept for a day: sent again, such a request is answered alike and does nothing. Written in the transaction of what was made, and cut, by the gateway.';
COMMENT ON COLUMN idempotency_keys.request IS 'SHA-256 of what was asked.';
COMMENT ON COLUMN idempotency_keys.location IS 'Of what was made, as the answer named it.';
CREATE INDEX idempotency_keys_created_at ON idempotency_keys (created_at);
