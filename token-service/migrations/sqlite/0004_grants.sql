-- Grants: what a user gave a client, from the redeemed code to the last refresh token, and what the user is not asked
-- again. Times as in 0002_oauth.sql; `auth_time` as tokens say it (seconds since the epoch).

-- A code lives a minute: those on their way are lost.
DROP TABLE authorization_codes;
CREATE TABLE authorization_codes (
    code_hash      BLOB NOT NULL PRIMARY KEY,
    client_id      TEXT NOT NULL,
    user           TEXT NOT NULL,
    redirect_uri   TEXT NOT NULL,
    -- None where only the user's identity is asked for.
    resource       TEXT,
    scope          TEXT NOT NULL,
    code_challenge TEXT NOT NULL,
    nonce          TEXT,
    auth_time      INTEGER NOT NULL,
    session_id     TEXT NOT NULL,
    expires_at     TEXT NOT NULL,
    keep_until     TEXT NOT NULL,
    -- The grant that it began, once it is redeemed.
    grant_id       TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX authorization_codes_by_keep ON authorization_codes (keep_until);
CREATE INDEX authorization_codes_by_user ON authorization_codes (user);

-- One row a family: all tokens that come from one code. A family that was ended is in `revoked_tokens` too, by its id,
-- for as long as a token of it could be alive.
CREATE TABLE grants (
    id         TEXT NOT NULL PRIMARY KEY,
    client_id  TEXT NOT NULL,
    user       TEXT NOT NULL,
    resource   TEXT,
    scope      TEXT NOT NULL,
    auth_time  INTEGER NOT NULL,
    session_id TEXT NOT NULL,
    -- The key that a public client's refresh tokens are bound to (RFC 9449 section 5).
    dpop_jkt   TEXT,
    created_at TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    revoked_at TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX grants_by_user ON grants (user);
CREATE INDEX grants_by_expiry ON grants (expires_at);

-- A used one stays until it would have run out, so that using it again is noticed (RFC 9700 section 4.14).
CREATE TABLE refresh_tokens (
    secret_hash BLOB NOT NULL PRIMARY KEY,
    grant_id    TEXT NOT NULL REFERENCES grants (id) ON DELETE CASCADE,
    expires_at  TEXT NOT NULL,
    used_at     TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX refresh_tokens_by_grant ON refresh_tokens (grant_id);

-- What a user has agreed to, so that they are not asked again where that is safe.
CREATE TABLE consents (
    user          TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    client_id     TEXT NOT NULL,
    redirect_host TEXT NOT NULL,
    -- '' where only the user's identity was asked for.
    resource      TEXT NOT NULL,
    scope         TEXT NOT NULL,
    given_at      TEXT NOT NULL,
    PRIMARY KEY (user, client_id, redirect_host, resource)
) STRICT, WITHOUT ROWID;

-- Authorization requests that a client pushed (RFC 9126), until they are answered.
CREATE TABLE pushed_requests (
    secret_hash BLOB NOT NULL PRIMARY KEY,
    client_id   TEXT NOT NULL,
    parameters  TEXT NOT NULL,
    expires_at  TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX pushed_requests_by_expiry ON pushed_requests (expires_at);

-- The authorization request that somebody signed in for (its SHA-256), so that a client which asks for a fresh sign-in
-- gets one, and one only.
ALTER TABLE sessions ADD COLUMN signed_in_for BLOB;
