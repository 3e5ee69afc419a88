-- Registrations that come without an administrator (RFC 7591).

-- Initial access tokens. One that is revoked is deleted; the audit trail has what was done with it.
CREATE TABLE initial_access_tokens (
    id          TEXT NOT NULL PRIMARY KEY,
    secret_hash BLOB NOT NULL UNIQUE CHECK (length(secret_hash) = 32),
    owner       TEXT NOT NULL,
    labels      TEXT NOT NULL CHECK (json_type(labels) = 'object'),
    count       INTEGER NOT NULL CHECK (count > 0),
    used        INTEGER NOT NULL DEFAULT 0 CHECK (used BETWEEN 0 AND count),
    expires_at  TEXT NOT NULL,
    created_at  TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What the initial access token vouched for when the registration was made: an update is judged with it again.
ALTER TABLE agents ADD COLUMN token_labels TEXT CHECK (token_labels IS NULL OR json_type(token_labels) = 'object');
ALTER TABLE servers ADD COLUMN token_labels TEXT CHECK (token_labels IS NULL OR json_type(token_labels) = 'object');
