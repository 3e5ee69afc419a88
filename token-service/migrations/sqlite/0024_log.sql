-- The log: each record becomes a leaf of a Merkle tree (RFC 6962), in one order, without gaps.

-- What a record says about a person, behind the commitment that its leaf has: to be erased without the trail being broken.
CREATE TABLE audit_personal (
    -- The record's id.
    record    TEXT NOT NULL PRIMARY KEY,
    -- Random; without it nobody can tell by trying what the commitment is to.
    salt      TEXT,
    subject   TEXT,
    -- Where it is not the name of a tool or prompt.
    target    TEXT,
    reason    TEXT,
    source_ip TEXT,
    detail    TEXT,
    -- The record of its erasure.
    erased_by TEXT,
    CHECK ((salt IS NULL) = (erased_by IS NOT NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX audit_personal_by_subject ON audit_personal (subject, record) WHERE subject IS NOT NULL;

INSERT INTO audit_personal (record, salt, subject, target, reason, source_ip, detail)
SELECT id, lower(hex(randomblob(32))), subject,
       CASE WHEN method IN ('tools/call', 'prompts/get') THEN NULL ELSE target END, reason, source_ip, detail
FROM audit;

CREATE TABLE audit_rebuilt (
    seq              INTEGER PRIMARY KEY,
    id               TEXT NOT NULL,
    time             TEXT NOT NULL,
    kind             TEXT NOT NULL,
    agent            TEXT,
    gateway          TEXT,
    server           TEXT,
    method           TEXT,
    target           TEXT,
    decision         TEXT CHECK (decision IN ('allow', 'deny')),
    gateway_policy   TEXT,
    service_policy   TEXT,
    token_id         TEXT,
    txn              TEXT,
    subject_token_id TEXT,
    content_digest   TEXT,
    result_digest    TEXT,
    request_id       TEXT,
    task             TEXT
) STRICT;
INSERT INTO audit_rebuilt
SELECT seq, id, time, kind, agent, gateway, server, method,
       CASE WHEN method IN ('tools/call', 'prompts/get') THEN target END, decision, gateway_policy, service_policy,
       token_id, txn, subject_token_id, content_digest, result_digest, request_id, task
FROM audit;
DROP TRIGGER audit_is_append_only_update;
DROP TRIGGER audit_is_append_only_delete;
DROP TABLE audit;
ALTER TABLE audit_rebuilt RENAME TO audit;

CREATE UNIQUE INDEX audit_by_id ON audit (id);
CREATE INDEX audit_by_agent ON audit (agent, id) WHERE agent IS NOT NULL;
CREATE INDEX audit_by_server ON audit (server, id) WHERE server IS NOT NULL;
CREATE INDEX audit_by_token ON audit (token_id) WHERE token_id IS NOT NULL;

CREATE TRIGGER audit_is_append_only_update BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_is_append_only_delete BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_personal_is_only_erased BEFORE UPDATE ON audit_personal
WHEN NEW.record <> OLD.record OR NEW.erased_by IS NULL OR OLD.erased_by IS NOT NULL
  OR coalesce(NEW.salt, NEW.subject, NEW.target, NEW.reason, NEW.source_ip, NEW.detail) IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only: a person can be erased, by `writ user erase`'); END;
CREATE TRIGGER audit_personal_is_append_only_delete BEFORE DELETE ON audit_personal
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;

-- Which record is which leaf.
CREATE TABLE leaves (
    -- From 0, without gaps.
    leaf     INTEGER PRIMARY KEY CHECK (leaf >= 0),
    seq      INTEGER NOT NULL UNIQUE,
    -- What the leaf commits to of what is about a person.
    personal TEXT NOT NULL
) STRICT;
CREATE TRIGGER leaves_stay BEFORE UPDATE ON leaves
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER leaves_are_kept BEFORE DELETE ON leaves
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;

-- A record as it is read.
CREATE VIEW records AS
SELECT a.seq, a.id, a.time, a.kind, p.subject, a.agent, a.gateway, a.server, a.method, coalesce(a.target, p.target) AS target,
       a.decision, p.reason, a.gateway_policy, a.service_policy, a.token_id, a.txn, a.subject_token_id, a.content_digest,
       a.result_digest, a.request_id, p.source_ip, p.detail, a.task, p.erased_by, l.leaf
FROM audit AS a JOIN audit_personal AS p ON p.record = a.id LEFT JOIN leaves AS l ON l.seq = a.seq;

-- The tree's hashes, 256 a tile (C2SP tlog-tiles).
CREATE TABLE tiles (
    level  INTEGER NOT NULL,
    number INTEGER NOT NULL,
    hashes BLOB NOT NULL CHECK (length(hashes) % 32 = 0 AND length(hashes) BETWEEN 32 AND 8192),
    PRIMARY KEY (level, number)
) STRICT;

-- How far it is. One row.
CREATE TABLE log_state (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    size   INTEGER NOT NULL,
    -- The last record that is a leaf.
    seq    INTEGER NOT NULL,
    -- What it is called, from its first checkpoint on.
    origin TEXT,
    -- What its checkpoints are verified with.
    public_key TEXT
) STRICT;
INSERT INTO log_state (id, size, seq) VALUES (1, 0, 0);

-- What was signed of it (C2SP tlog-checkpoint), with cosignatures as they come.
CREATE TABLE checkpoints (
    size INTEGER PRIMARY KEY,
    time TEXT NOT NULL,
    note TEXT NOT NULL
) STRICT;

-- Up to where each witness has cosigned this one.
CREATE TABLE cosigned (
    witness TEXT NOT NULL PRIMARY KEY,
    size    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The logs of others that this service is a witness of: what it cosigned last.
CREATE TABLE witnessed (
    origin TEXT NOT NULL PRIMARY KEY,
    size   INTEGER NOT NULL CHECK (size > 0),
    root   BLOB NOT NULL CHECK (length(root) = 32)
) STRICT, WITHOUT ROWID;
