-- Tasks, and gateways that prove who they are with a certificate (RFC 8705).

ALTER TABLE audit ADD COLUMN task TEXT;

-- What an agent declared and the policy approved. Rows stay for a while after the end, so that a late call is told why.
CREATE TABLE tasks (
    id         TEXT NOT NULL PRIMARY KEY,
    txn        TEXT NOT NULL,
    subject    TEXT NOT NULL,
    agent      TEXT NOT NULL,
    purpose    TEXT NOT NULL,
    -- The tools by server id.
    tools      TEXT NOT NULL CHECK (json_type(tools) = 'object'),
    max_calls  INTEGER CHECK (max_calls IS NULL OR max_calls > 0),
    calls      INTEGER NOT NULL DEFAULT 0,
    opened_at  TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    closed_at  TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX tasks_by_owner ON tasks (subject, agent);
CREATE INDEX tasks_by_expiry ON tasks (expires_at);

-- Calls within tasks, by day (UTC): a new task resets nothing.
CREATE TABLE task_calls (
    subject TEXT NOT NULL,
    agent   TEXT NOT NULL,
    day     TEXT NOT NULL,
    calls   INTEGER NOT NULL,
    PRIMARY KEY (subject, agent, day)
) STRICT, WITHOUT ROWID;
CREATE INDEX task_calls_by_day ON task_calls (day);

-- SQLite cannot drop a NOT NULL, so the table is rebuilt; what refers to it goes first, or dropping it would empty that.
CREATE TABLE gateway_servers_kept AS SELECT gateway, server FROM gateway_servers;
DROP TABLE gateway_servers;
CREATE TABLE gateways_rebuilt (
    id                 TEXT PRIMARY KEY,
    secret_hash        BLOB CHECK (secret_hash IS NULL OR length(secret_hash) = 32),
    -- RFC 8705 section 2.1: a subject alternative name (a URI or a DNS name) of a certificate of the trusted authorities.
    certificate_san    TEXT UNIQUE,
    -- RFC 8705 section 2.2: the SHA-256 of the certificate.
    certificate_sha256 BLOB UNIQUE CHECK (certificate_sha256 IS NULL OR length(certificate_sha256) = 32),
    status             TEXT NOT NULL CHECK (status IN ('approved', 'pending', 'disabled')),
    created_at         TEXT NOT NULL,
    CHECK ((secret_hash IS NOT NULL) + (certificate_san IS NOT NULL) + (certificate_sha256 IS NOT NULL) = 1)
) STRICT, WITHOUT ROWID;
INSERT INTO gateways_rebuilt (id, secret_hash, status, created_at)
SELECT id, secret_hash, status, created_at FROM gateways;
DROP TABLE gateways;
ALTER TABLE gateways_rebuilt RENAME TO gateways;
CREATE TABLE gateway_servers (
    gateway TEXT NOT NULL REFERENCES gateways (id) ON DELETE CASCADE,
    server  TEXT NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
    PRIMARY KEY (gateway, server)
) STRICT, WITHOUT ROWID;
INSERT INTO gateway_servers (gateway, server) SELECT gateway, server FROM gateway_servers_kept;
DROP TABLE gateway_servers_kept;

CREATE TRIGGER gateways_inserted AFTER INSERT ON gateways
BEGIN UPDATE registry_revision SET revision = revision + 1; END;
CREATE TRIGGER gateways_updated AFTER UPDATE ON gateways
BEGIN UPDATE registry_revision SET revision = revision + 1; END;
CREATE TRIGGER gateways_deleted AFTER DELETE ON gateways
BEGIN UPDATE registry_revision SET revision = revision + 1; END;
CREATE TRIGGER gateway_servers_inserted AFTER INSERT ON gateway_servers
BEGIN UPDATE registry_revision SET revision = revision + 1; END;
CREATE TRIGGER gateway_servers_deleted AFTER DELETE ON gateway_servers
BEGIN UPDATE registry_revision SET revision = revision + 1; END;
