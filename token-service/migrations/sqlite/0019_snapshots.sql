-- What gateways decide from is signed and counted.

-- One row: how often the service was put back to an earlier state, and which of its keys sign snapshots. They are shared keys
-- (`snapshots.1`, `snapshots.2`, …): those from the first on are trusted, the last one signs.
CREATE TABLE snapshots (
    id        INTEGER PRIMARY KEY CHECK (id = 1),
    epoch     INTEGER NOT NULL CHECK (epoch >= 0),
    first_key INTEGER NOT NULL CHECK (first_key >= 1),
    last_key  INTEGER NOT NULL CHECK (last_key >= first_key)
) STRICT;
INSERT INTO snapshots (id, epoch, first_key, last_key) VALUES (1, 0, 1, 1);
CREATE TRIGGER snapshots_updated AFTER UPDATE ON snapshots
BEGIN UPDATE registry_revision SET revision = revision + 1; END;

-- Revocations in the order in which they were made, so that what is new can be read without the rest.
CREATE TABLE revocations (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    token_id   TEXT NOT NULL UNIQUE,
    expires_at TEXT NOT NULL
) STRICT;
INSERT INTO revocations (token_id, expires_at) SELECT token_id, expires_at FROM revoked_tokens ORDER BY expires_at, token_id;
DROP TABLE revoked_tokens;
ALTER TABLE revocations RENAME TO revoked_tokens;
CREATE INDEX revoked_tokens_by_expiry ON revoked_tokens (expires_at);
CREATE TRIGGER revoked_tokens_inserted AFTER INSERT ON revoked_tokens
BEGIN UPDATE registry_revision SET revision = revision + 1; END;
