CREATE TABLE installation (
    only_row     boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    partitions   integer NOT NULL CHECK (partitions > 0),
    epoch        uuid NOT NULL DEFAULT gen_random_uuid(),
    installed_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE installation IS 'One row: what was fixed when this database was installed. Written by rollo migrate.';
COMMENT ON COLUMN installation.partitions IS 'P of every partitioned stream; changing it would only cost speed, but it is never changed.';

CREATE TABLE symbol_state (
    symbol  text COLLATE "C" PRIMARY KEY,
    version bigint NOT NULL,
    nonce   bigint NOT NULL
);
COMMENT ON TABLE symbol_state IS 'A counter and a random number that change with every commit to a symbol: memory is valid while both are the same. Written by detector.';

CREATE TABLE bars (
    symbol       text COLLATE "C" NOT NULL,
    timeframe    text COLLATE "C" NOT NULL,
    ts           timestamptz NOT NULL,
    open         double precision NOT NULL,
    high         double precision NOT NULL,
    low          double precision NOT NULL,
    close        double precision NOT NULL,
    volume       double precision NOT NULL,
    revision     bigint NOT NULL CHECK (revision >= 0),
    synthetic    boolean NOT NULL,
    hash         bigint NOT NULL,
    end_ts       timestamptz NOT NULL,
    session_date date NOT NULL,
    hours        text COLLATE "C" NOT NULL CHECK (hours IN ('regular', 'extended')),
    arrived_at   timestamptz NOT NULL,
    evaluable    boolean,
    PRIMARY KEY (symbol, timeframe, ts)
);
COMMENT ON TABLE bars IS 'The input: for every key the bar with the greatest (revision, real before synthetic, hash). Written by detector.';
COMMENT ON COLUMN bars.ts IS 'Start of the bar.';
COMMENT ON COLUMN bars.end_ts IS 'When the bar is known: start + length; the close of its session for 1d; the end of its last weekday for 1w.';
COMMENT ON COLUMN bars.arrived_at IS 'Milliseconds of the stream entry id that brought the winner; bars are judged by it.';
COMMENT ON COLUMN bars.evaluable IS 'Derived. Null: never analysed (synthetic or extended hours). False: too little history, or zero means, to judge volume and spread.';

CREATE TABLE vsa_events (
    symbol       text COLLATE "C" NOT NULL,
    timeframe    text COLLATE "C" NOT NULL,
    rule_set     text COLLATE "C" NOT NULL,
    kind         text COLLATE "C" NOT NULL,
    event_ts     timestamptz NOT NULL,
    confirmed_ts timestamptz NOT NULL,
    knowable_at  timestamptz NOT NULL,
    direction    text COLLATE "C" NOT NULL CHECK (direction IN ('bullish', 'bearish')),
    PRIMARY KEY (symbol, timeframe, rule_set, kind, event_ts)
);
CREATE INDEX idx_vsa_events_symbol_confirmed ON vsa_events (symbol, timeframe, confirmed_ts);
COMMENT ON TABLE vsa_events IS 'Derived from bars: volume-spread events of every rule set. Written by detector.';
COMMENT ON COLUMN vsa_events.event_ts IS 'Start of the bar that the event describes.';
COMMENT ON COLUMN vsa_events.confirmed_ts IS 'Start of the bar at which the event became knowable.';
COMMENT ON COLUMN vsa_events.knowable_at IS 'end_ts of the confirming bar.';

CREATE TABLE dirty_symbols (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    symbol    text COLLATE "C" NOT NULL,
    timeframe text COLLATE "C" NOT NULL,
    first_ts  timestamptz NOT NULL
);
COMMENT ON TABLE dirty_symbols IS 'Marks: bars of this symbol changed from first_ts on. The queue of the workers that go across symbols. Written by detector.';

CREATE TABLE outbox (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now(),
    messages   bytea NOT NULL
);
COMMENT ON TABLE outbox IS 'What a commit has to say and has not yet said: one row per batch, a JSON list of [stream, message]. Written by detector.';

CREATE TABLE dead_letters (
    id         bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    stream     text COLLATE "C" NOT NULL,
    entry_id   text COLLATE "C" NOT NULL,
    row        integer NOT NULL,
    sha256     bytea NOT NULL,
    service    text NOT NULL,
    fields     text[] NOT NULL,
    reasons    text[] NOT NULL,
    payload    bytea NOT NULL,
    arrived_at timestamptz NOT NULL,
    PRIMARY KEY (stream, entry_id, row, sha256)
);
COMMENT ON TABLE dead_letters IS 'Inputs that can never be applied, with their original bytes. Written by the service that refused them.';
COMMENT ON COLUMN dead_letters.row IS 'Row within a frame; 0 where the whole entry was refused.';

CREATE TABLE leases (
    service    text COLLATE "C" NOT NULL,
    partition  integer NOT NULL,
    owner      text NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (service, partition)
);
COMMENT ON TABLE leases IS 'Which replica works on which partition; two owners at once cost speed and nothing else.';

CREATE TABLE replicas (
    service text COLLATE "C" NOT NULL,
    name    text COLLATE "C" NOT NULL,
    seen_at timestamptz NOT NULL,
    PRIMARY KEY (service, name)
);
COMMENT ON TABLE replicas IS 'Replicas of each service and when they were last heard of.';

CREATE TABLE stream_floors (
    stream     text COLLATE "C" PRIMARY KEY,
    floor      text NOT NULL,
    trimmed_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE stream_floors IS 'Entries below the floor were trimmed. Written by the janitor.';
