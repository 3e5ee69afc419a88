-- A registration may be for watching what leaves. SQLite cannot change a CHECK, so the table is rebuilt; what refers to it goes
-- first, or dropping it would empty that.
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
    kind               TEXT NOT NULL DEFAULT 'gateway' CHECK (kind IN ('gateway', 'guard', 'egress')),
    CHECK ((secret_hash IS NOT NULL) + (certificate_san IS NOT NULL) + (certificate_sha256 IS NOT NULL) = 1)
) STRICT, WITHOUT ROWID;
INSERT INTO gateways_rebuilt (id, secret_hash, certificate_san, certificate_sha256, status, created_at, kind)
SELECT id, secret_hash, certificate_san, certificate_sha256, status, created_at, kind FROM gateways;
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

-- What was seen before, so that what is new is told of once: agents, a server's tools, and a user's agents that the user never
-- gave leave.
CREATE TABLE sightings (
    what  TEXT NOT NULL CHECK (what IN ('agent', 'tool', 'unapproved')),
    -- The server of a tool, the user of an agent.
    owner TEXT NOT NULL,
    name  TEXT NOT NULL,
    PRIMARY KEY (what, owner, name)
) STRICT, WITHOUT ROWID;
INSERT INTO sightings (what, owner, name)
SELECT DISTINCT 'agent', '', agent FROM audit WHERE kind IN ('mint', 'token_issued') AND agent IS NOT NULL
UNION
SELECT DISTINCT 'tool', server, target FROM audit
WHERE kind = 'mint' AND method = 'tools/call' AND server IS NOT NULL AND target IS NOT NULL;

-- MCP servers that agents use and nobody has registered.
CREATE TABLE shadow_servers (
    id     TEXT PRIMARY KEY,
    host   TEXT NOT NULL,
    -- What in it could be a credential is left out.
    path   TEXT NOT NULL,
    first  TEXT NOT NULL,
    last   TEXT NOT NULL,
    calls  INTEGER NOT NULL,
    fate   TEXT NOT NULL CHECK (fate IN ('open', 'adopted', 'dismissed')),
    server TEXT,
    reason TEXT
) STRICT, WITHOUT ROWID;
CREATE TABLE shadow_uses (
    shadow TEXT NOT NULL REFERENCES shadow_servers (id) ON DELETE CASCADE,
    what   TEXT NOT NULL CHECK (what IN ('client', 'source', 'tool')),
    name   TEXT NOT NULL,
    calls  INTEGER NOT NULL,
    PRIMARY KEY (shadow, what, name)
) STRICT, WITHOUT ROWID;
