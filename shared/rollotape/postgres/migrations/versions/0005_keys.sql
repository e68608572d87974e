CREATE TABLE api_keys (
    id         text COLLATE "C" PRIMARY KEY,
    name       text NOT NULL,
    scope      text COLLATE "C" NOT NULL CHECK (scope IN ('read', 'write', 'admin')),
    hash       bytea NOT NULL CHECK (length(hash) = 32),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz
);
COMMENT ON TABLE api_keys IS 'Who may ask the gateway. Written by rollo key.';
COMMENT ON COLUMN api_keys.id IS 'Part of the key, and no secret: it finds the row whose hash is compared.';
COMMENT ON COLUMN api_keys.hash IS 'SHA-256 of the key, which is 256 random bits: it cannot be guessed from this, nor found in it.';
