-- The local directory, and what sign-in and the grants remember.
-- Times are RFC 3339 in UTC with microseconds, so that text order is time order. Secrets are kept as SHA-256,
-- passwords as argon2id in PHC form.

CREATE TABLE users (
    name          TEXT NOT NULL PRIMARY KEY,
    password_hash TEXT NOT NULL,
    groups        TEXT NOT NULL CHECK (json_type(groups) = 'array'),
    status        TEXT NOT NULL CHECK (status IN ('approved', 'disabled')),
    created_at    TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Who is switched off is part of what the service decides from (0001_init.sql).
CREATE TRIGGER users_status_updated AFTER UPDATE OF status ON users
BEGIN UPDATE registry_revision SET revision = revision + 1; END;
CREATE TRIGGER users_deleted AFTER DELETE ON users
BEGIN UPDATE registry_revision SET revision = revision + 1; END;

-- Both are a token's `sub`: a workload must never pass for a person (RFC 9068 section 5).
CREATE TRIGGER users_name_is_no_agent BEFORE INSERT ON users
WHEN EXISTS (SELECT 1 FROM agents WHERE id = NEW.name)
BEGIN SELECT RAISE(ABORT, 'subject_is_taken'); END;
CREATE TRIGGER agents_id_is_no_user BEFORE INSERT ON agents
WHEN EXISTS (SELECT 1 FROM users WHERE name = NEW.id)
BEGIN SELECT RAISE(ABORT, 'subject_is_taken'); END;

-- One row a signed-in browser. The cookie's value is the only thing that finds it.
CREATE TABLE sessions (
    secret_hash BLOB NOT NULL PRIMARY KEY,
    user        TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    created_at  TEXT NOT NULL,
    expires_at  TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

-- Authorization codes (OAuth 2.1 section 4.1). A redeemed code stays until the token it gave is dead, so that a second
-- try is told from a made-up code and the token can be revoked.
CREATE TABLE authorization_codes (
    code_hash      BLOB NOT NULL PRIMARY KEY,
    client_id      TEXT NOT NULL,
    user           TEXT NOT NULL,
    redirect_uri   TEXT NOT NULL,
    resource       TEXT NOT NULL,
    scope          TEXT NOT NULL,
    code_challenge TEXT NOT NULL,
    expires_at     TEXT NOT NULL,
    keep_until     TEXT NOT NULL,
    token_id       TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX authorization_codes_by_keep ON authorization_codes (keep_until);

-- Client assertions that were used (RFC 7523 section 3, point 7), until they expire by themselves.
CREATE TABLE client_assertions (
    digest     BLOB NOT NULL PRIMARY KEY,
    expires_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX client_assertions_by_expiry ON client_assertions (expires_at);

-- Tokens taken back before their time, until they expire by themselves.
CREATE TABLE revoked_tokens (
    token_id   TEXT NOT NULL PRIMARY KEY,
    expires_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX revoked_tokens_by_expiry ON revoked_tokens (expires_at);
CREATE TRIGGER revoked_tokens_inserted AFTER INSERT ON revoked_tokens
BEGIN UPDATE registry_revision SET revision = revision + 1; END;
