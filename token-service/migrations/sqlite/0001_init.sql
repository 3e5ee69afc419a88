-- The registry, single-use tokens and the audit trail.
-- Times are RFC 3339 in UTC with microseconds, except in tokens (NumericDate, seconds).

-- One row. Whatever changes what the service may decide moves it on, in the same transaction.
CREATE TABLE registry_revision (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    revision INTEGER NOT NULL
) STRICT;
INSERT INTO registry_revision (id, revision) VALUES (1, 1);

CREATE TABLE servers (
    id                TEXT PRIMARY KEY,
    resource          TEXT NOT NULL UNIQUE,
    upstream_audience TEXT NOT NULL UNIQUE,
    enforcement       TEXT NOT NULL CHECK (enforcement IN ('guard', 'introspect', 'aud_only')),
    status            TEXT NOT NULL CHECK (status IN ('approved', 'pending', 'disabled')),
    labels            TEXT NOT NULL CHECK (json_type(labels) = 'object'),
    scopes            TEXT NOT NULL CHECK (json_type(scopes) = 'array'),
    secret_hash       BLOB NOT NULL CHECK (length(secret_hash) = 32),
    created_at        TEXT NOT NULL,
    CHECK (resource <> upstream_audience)
) STRICT, WITHOUT ROWID;

-- A minted token's audience is nobody's public resource, or it would pass for a caller's token there.
CREATE TRIGGER servers_audience_is_no_resource BEFORE INSERT ON servers
WHEN EXISTS (SELECT 1 FROM servers WHERE resource = NEW.upstream_audience OR upstream_audience = NEW.resource)
BEGIN SELECT RAISE(ABORT, 'audience_is_resource'); END;
CREATE TRIGGER servers_audience_stays_no_resource BEFORE UPDATE OF resource, upstream_audience ON servers
WHEN EXISTS (SELECT 1 FROM servers WHERE resource = NEW.upstream_audience OR upstream_audience = NEW.resource)
BEGIN SELECT RAISE(ABORT, 'audience_is_resource'); END;

CREATE TABLE agents (
    id            TEXT PRIMARY KEY,
    name          TEXT NOT NULL,
    auth_method   TEXT NOT NULL CHECK (auth_method IN ('none', 'secret', 'key')),
    secret_hash   BLOB CHECK (secret_hash IS NULL OR length(secret_hash) = 32),
    jwks          TEXT CHECK (jwks IS NULL OR json_type(jwks) = 'object'),
    redirect_uris TEXT NOT NULL CHECK (json_type(redirect_uris) = 'array'),
    grants        TEXT NOT NULL CHECK (json_type(grants) = 'array'),
    tools         TEXT NOT NULL CHECK (json_type(tools) = 'object'),
    labels        TEXT NOT NULL CHECK (json_type(labels) = 'object'),
    status        TEXT NOT NULL CHECK (status IN ('approved', 'pending', 'disabled')),
    created_at    TEXT NOT NULL,
    CHECK ((auth_method = 'secret') = (secret_hash IS NOT NULL)),
    CHECK ((auth_method = 'key') = (jwks IS NOT NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE gateways (
    id          TEXT PRIMARY KEY,
    secret_hash BLOB NOT NULL CHECK (length(secret_hash) = 32),
    status      TEXT NOT NULL CHECK (status IN ('approved', 'pending', 'disabled')),
    created_at  TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE gateway_servers (
    gateway TEXT NOT NULL REFERENCES gateways (id) ON DELETE CASCADE,
    server  TEXT NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
    PRIMARY KEY (gateway, server)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER servers_inserted AFTER INSERT ON servers
BEGIN UPDATE registry_revision SET revision = revision + 1; END;
CREATE TRIGGER servers_updated AFTER UPDATE ON servers
BEGIN UPDATE registry_revision SET revision = revision + 1; END;
CREATE TRIGGER servers_deleted AFTER DELETE ON servers
BEGIN UPDATE registry_revision SET revision = revision + 1; END;
CREATE TRIGGER agents_inserted AFTER INSERT ON agents
BEGIN UPDATE registry_revision SET revision = revision + 1; END;
CREATE TRIGGER agents_updated AFTER UPDATE ON agents
BEGIN UPDATE registry_revision SET revision = revision + 1; END;
CREATE TRIGGER agents_deleted AFTER DELETE ON agents
BEGIN UPDATE registry_revision SET revision = revision + 1; END;
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

-- Single-use tokens until they have expired. Discovery tokens have no row: they are good until `exp`.
CREATE TABLE tokens (
    jti         TEXT PRIMARY KEY,
    exp         INTEGER NOT NULL,
    consumed_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    seq              INTEGER PRIMARY KEY,
    id               TEXT NOT NULL,
    time             TEXT NOT NULL,
    kind             TEXT NOT NULL,
    subject          TEXT,
    agent            TEXT,
    gateway          TEXT,
    server           TEXT,
    method           TEXT,
    target           TEXT,
    decision         TEXT CHECK (decision IN ('allow', 'deny')),
    reason           TEXT,
    gateway_policy   TEXT,
    service_policy   TEXT,
    token_id         TEXT,
    txn              TEXT,
    subject_token_id TEXT,
    content_digest   TEXT,
    request_id       TEXT,
    source_ip        TEXT,
    detail           TEXT
) STRICT;

CREATE TRIGGER audit_is_append_only_update BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_is_append_only_delete BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;

-- An outcome names its token only: who called what is read from the token's record.
CREATE INDEX audit_by_minted_token ON audit (token_id) WHERE kind = 'mint';

-- What gateways have reported lately, so that a batch sent again is recorded once.
CREATE TABLE reported (
    key     BLOB PRIMARY KEY,
    seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX reported_by_time ON reported (seen_at);

-- What anybody can cause without being known, counted per day instead of recorded one by one. The first of
-- each has a record in the trail; `record_id` names it.
CREATE TABLE tallies (
    day       TEXT NOT NULL,
    kind      TEXT NOT NULL,
    source_ip TEXT NOT NULL,
    server    TEXT NOT NULL,
    record_id TEXT NOT NULL,
    first     TEXT NOT NULL,
    last      TEXT NOT NULL,
    count     INTEGER NOT NULL,
    PRIMARY KEY (day, kind, source_ip, server)
) STRICT, WITHOUT ROWID;
CREATE INDEX tallies_by_record ON tallies (record_id);
