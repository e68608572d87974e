CREATE TABLE webhooks (
    id            uuid PRIMARY KEY,
    owner         text COLLATE "C" NOT NULL,
    name          text COLLATE "C" NOT NULL CHECK (length(name) BETWEEN 1 AND 80),
    content       jsonb NOT NULL,
    secret        bytea NOT NULL CHECK (length(secret) = 32),
    version       integer NOT NULL DEFAULT 1,
    created_at    timestamptz NOT NULL DEFAULT now(),
    changed_at    timestamptz NOT NULL DEFAULT now(),
    last_at       timestamptz,
    last_status   integer,
    last_error    text,
    failing_since timestamptz,
    disabled_at   timestamptz,
    dropped       bigint NOT NULL DEFAULT 0,
    CONSTRAINT webhooks_name UNIQUE (owner, name)
);
COMMENT ON TABLE webhooks IS 'An input: addresses that somebody wants to be told at. Written by the gateway; how sending goes, by cache-builder.';
COMMENT ON COLUMN webhooks.owner IS 'As of a watchlist.';
COMMENT ON COLUMN webhooks.content IS 'Its `url`, the `events` that it is told of, and `symbols` where it is not told of all.';
COMMENT ON COLUMN webhooks.secret IS 'What is sent is signed with it. Shown once, by the gateway that made it.';
COMMENT ON COLUMN webhooks.version IS 'Counts its changes.';
COMMENT ON COLUMN webhooks.last_status IS 'Of the last attempt; null where nobody answered.';
COMMENT ON COLUMN webhooks.failing_since IS 'Since when no attempt went well.';
COMMENT ON COLUMN webhooks.disabled_at IS 'Nothing is sent any more: every attempt had failed for ROLLO_WEBHOOKS_DAYS. Until its owner replaces it.';
COMMENT ON COLUMN webhooks.dropped IS 'Facts that were not queued, because too many were waiting.';

CREATE TABLE webhook_deliveries (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    webhook_id   uuid NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    type         text COLLATE "C" NOT NULL,
    fact_id      text COLLATE "C" NOT NULL,
    fact_version bigint NOT NULL,
    body         bytea NOT NULL,
    status       text COLLATE "C" NOT NULL DEFAULT 'waiting' CHECK (status IN ('waiting', 'delivered', 'failed', 'dropped')),
    attempts     integer NOT NULL DEFAULT 0,
    created_at   timestamptz NOT NULL DEFAULT now(),
    due_at       timestamptz NOT NULL DEFAULT now(),
    leased_until timestamptz,
    finished_at  timestamptz,
    last_status  integer,
    last_error   text,
    CONSTRAINT webhook_deliveries_fact UNIQUE (webhook_id, fact_id, fact_version, type)
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (webhook_id, due_at) WHERE status = 'waiting';
CREATE INDEX webhook_deliveries_finished_at ON webhook_deliveries (finished_at) WHERE finished_at IS NOT NULL;
COMMENT ON TABLE webhook_deliveries IS 'Facts to be sent to webhooks, and for seven days what became of them. Written and cut by cache-builder.';
COMMENT ON COLUMN webhook_deliveries.body IS 'The fact as it stood on the stream `updates`.';
COMMENT ON COLUMN webhook_deliveries.status IS 'failed: given up a day after it came. dropped: the webhook was disabled before.';
COMMENT ON COLUMN webhook_deliveries.leased_until IS 'Somebody is sending it; who has not said what came of it by then has died.';
