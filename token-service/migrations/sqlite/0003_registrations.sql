-- Registrations that people, agents and servers make themselves; workloads; what a client's metadata says.

-- A table is rebuilt because SQLite cannot change a CHECK. The triggers that name it go first.
DROP TRIGGER users_name_is_no_agent;
CREATE TABLE agents_rebuilt (
    -- A short id, or the URL of a Client ID Metadata Document.
    id                TEXT PRIMARY KEY,
    name              TEXT NOT NULL,
    auth_method       TEXT NOT NULL CHECK (auth_method IN ('none', 'secret', 'key', 'workload')),
    secret_hash       BLOB CHECK (secret_hash IS NULL OR length(secret_hash) = 32),
    jwks              TEXT CHECK (jwks IS NULL OR json_type(jwks) = 'object'),
    jwks_uri          TEXT,
    -- Which attested identity it proves, for auth_method 'workload'.
    workload          TEXT CHECK (workload IS NULL OR json_type(workload) = 'object'),
    redirect_uris     TEXT NOT NULL CHECK (json_type(redirect_uris) = 'array'),
    grants            TEXT NOT NULL CHECK (json_type(grants) = 'array'),
    tools             TEXT NOT NULL CHECK (json_type(tools) = 'object'),
    labels            TEXT NOT NULL CHECK (json_type(labels) = 'object'),
    metadata          TEXT NOT NULL DEFAULT '{}' CHECK (json_type(metadata) = 'object'),
    status            TEXT NOT NULL CHECK (status IN ('approved', 'pending', 'disabled')),
    origin            TEXT NOT NULL DEFAULT 'admin' CHECK (origin IN ('admin', 'dynamic', 'metadata_document')),
    -- SHA-256 of the registration access token (RFC 7592 section 1).
    registration_hash BLOB CHECK (registration_hash IS NULL OR length(registration_hash) = 32),
    created_at        TEXT NOT NULL,
    CHECK ((auth_method = 'secret') = (secret_hash IS NOT NULL)),
    CHECK ((auth_method = 'key') = (jwks IS NOT NULL OR jwks_uri IS NOT NULL)),
    CHECK (jwks IS NULL OR jwks_uri IS NULL),
    CHECK ((auth_method = 'workload') = (workload IS NOT NULL))
) STRICT, WITHOUT ROWID;
INSERT INTO agents_rebuilt (id, name, auth_method, secret_hash, jwks, redirect_uris, grants, tools, labels, status, created_at)
SELECT id, name, auth_method, secret_hash, jwks, redirect_uris, grants, tools, labels, status, created_at FROM agents;
DROP TABLE agents;
ALTER TABLE agents_rebuilt RENAME TO agents;

CREATE TRIGGER agents_inserted AFTER INSERT ON agents
BEGIN UPDATE registry_revision SET revision = revision + 1; END;
CREATE TRIGGER agents_updated AFTER UPDATE ON agents
BEGIN UPDATE registry_revision SET revision = revision + 1; END;
CREATE TRIGGER agents_deleted AFTER DELETE ON agents
BEGIN UPDATE registry_revision SET revision = revision + 1; END;
CREATE TRIGGER users_name_is_no_agent BEFORE INSERT ON users
WHEN EXISTS (SELECT 1 FROM agents WHERE id = NEW.name)
BEGIN SELECT RAISE(ABORT, 'subject_is_taken'); END;
CREATE TRIGGER agents_id_is_no_user BEFORE INSERT ON agents
WHEN EXISTS (SELECT 1 FROM users WHERE name = NEW.id)
BEGIN SELECT RAISE(ABORT, 'subject_is_taken'); END;

ALTER TABLE servers ADD COLUMN name TEXT NOT NULL DEFAULT '';
ALTER TABLE servers ADD COLUMN owner TEXT NOT NULL DEFAULT '';
-- Where the server itself is, for whoever runs the gateway before it.
ALTER TABLE servers ADD COLUMN upstream TEXT;
ALTER TABLE servers ADD COLUMN tools TEXT NOT NULL DEFAULT '[]' CHECK (json_type(tools) = 'array');
-- The servers that it may call on behalf of its own callers (RFC 8693 section 4.4, `may_act`).
ALTER TABLE servers ADD COLUMN may_call TEXT NOT NULL DEFAULT '[]' CHECK (json_type(may_call) = 'array');
ALTER TABLE servers ADD COLUMN origin TEXT NOT NULL DEFAULT 'admin' CHECK (origin IN ('admin', 'dynamic'));
ALTER TABLE servers ADD COLUMN registration_hash BLOB CHECK (registration_hash IS NULL OR length(registration_hash) = 32);
