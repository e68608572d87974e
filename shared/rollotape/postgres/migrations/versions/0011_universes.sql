CREATE TABLE universes (
    key         text COLLATE "C" PRIMARY KEY CHECK (key ~ '^[a-z0-9][a-z0-9_-]{0,39}$' AND key <> 'leaders'),
    description text NOT NULL,
    symbols     text[] COLLATE "C" NOT NULL DEFAULT '{}',
    changed_at  timestamptz
);
COMMENT ON TABLE universes IS 'An input: lists of symbols, such as the members of an index, each as it was last told. Sectors, leaders and exchanges are universes, too, and follow from other tables. Written by rollo import-universe.';
COMMENT ON COLUMN universes.symbols IS 'In alphabetical order, each once.';
COMMENT ON COLUMN universes.changed_at IS 'When its members last changed; null: nobody has ever told them.';
INSERT INTO universes (key, description) VALUES ('sp500', 'S&P 500');

CREATE TABLE exchanges (
    symbol   text COLLATE "C" PRIMARY KEY,
    exchange text COLLATE "C" NOT NULL CHECK (exchange ~ '^[A-Z0-9][A-Z0-9 ._-]{0,29}$')
);
COMMENT ON TABLE exchanges IS 'An input: where a symbol is listed, also symbols of which nothing else is known. Written by rollo import-universe --exchanges.';
