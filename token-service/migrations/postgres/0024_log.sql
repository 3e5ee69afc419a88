-- The log: each record becomes a leaf of a Merkle tree (RFC 6962), in one order, without gaps.

-- What a record says about a person, behind the commitment that its leaf has: to be erased without the trail being broken.
CREATE TABLE audit_personal (
    -- The record's id.
    record    TEXT COLLATE "C" PRIMARY KEY,
    -- Random; without it nobody can tell by trying what the commitment is to.
    salt      TEXT COLLATE "C",
    subject   TEXT COLLATE "C",
    -- Where it is not the name of a tool or prompt.
    target    TEXT COLLATE "C",
    reason    TEXT COLLATE "C",
    source_ip TEXT COLLATE "C",
    detail    TEXT COLLATE "C",
    -- The record of its erasure.
    erased_by TEXT COLLATE "C",
    CHECK ((salt IS NULL) = (erased_by IS NOT NULL))
);
CREATE INDEX audit_personal_by_subject ON audit_personal (subject, record) WHERE subject IS NOT NULL;

INSERT INTO audit_personal (record, salt, subject, target, reason, source_ip, detail)
SELECT id, replace(CAST(gen_random_uuid() AS TEXT) || CAST(gen_random_uuid() AS TEXT), '-', ''), subject,
       CASE WHEN method IN ('tools/call', 'prompts/get') THEN NULL ELSE target END, reason, source_ip, detail
FROM audit;

ALTER TABLE audit DISABLE TRIGGER audit_is_append_only;
UPDATE audit SET target = NULL WHERE method IS NULL OR method NOT IN ('tools/call', 'prompts/get');
ALTER TABLE audit ENABLE TRIGGER audit_is_append_only;
ALTER TABLE audit DROP COLUMN subject, DROP COLUMN reason, DROP COLUMN source_ip, DROP COLUMN detail;

DROP INDEX audit_by_minted_token;
CREATE UNIQUE INDEX audit_by_id ON audit (id);
CREATE INDEX audit_by_agent ON audit (agent, id) WHERE agent IS NOT NULL;
CREATE INDEX audit_by_server ON audit (server, id) WHERE server IS NOT NULL;
CREATE INDEX audit_by_token ON audit (token_id) WHERE token_id IS NOT NULL;

CREATE TRIGGER audit_personal_is_only_erased BEFORE UPDATE ON audit_personal FOR EACH ROW
WHEN (NEW.record <> OLD.record OR NEW.erased_by IS NULL OR OLD.erased_by IS NOT NULL
   OR coalesce(NEW.salt, NEW.subject, NEW.target, NEW.reason, NEW.source_ip, NEW.detail) IS NOT NULL)
EXECUTE FUNCTION refuse('the audit trail is append-only: a person can be erased, by `writ user erase`');
CREATE TRIGGER audit_personal_is_append_only BEFORE DELETE ON audit_personal
FOR EACH ROW EXECUTE FUNCTION refuse('the audit trail is append-only');
CREATE TRIGGER audit_personal_is_not_emptied BEFORE TRUNCATE ON audit_personal
FOR EACH STATEMENT EXECUTE FUNCTION refuse('the audit trail is append-only');

-- Which record is which leaf.
CREATE TABLE leaves (
    -- From 0, without gaps.
    leaf     BIGINT PRIMARY KEY CHECK (leaf >= 0),
    seq      BIGINT NOT NULL UNIQUE,
    -- What the leaf commits to of what is about a person.
    personal TEXT COLLATE "C" NOT NULL
);
CREATE TRIGGER leaves_stay BEFORE UPDATE OR DELETE ON leaves
FOR EACH ROW EXECUTE FUNCTION refuse('the audit trail is append-only');
CREATE TRIGGER leaves_are_not_emptied BEFORE TRUNCATE ON leaves
FOR EACH STATEMENT EXECUTE FUNCTION refuse('the audit trail is append-only');

-- A record as it is read.
CREATE VIEW records AS
SELECT a.seq, a.id, a.time, a.kind, p.subject, a.agent, a.gateway, a.server, a.method, coalesce(a.target, p.target) AS target,
       a.decision, p.reason, a.gateway_policy, a.service_policy, a.token_id, a.txn, a.subject_token_id, a.content_digest,
       a.result_digest, a.request_id, p.source_ip, p.detail, a.task, p.erased_by, l.leaf, a.writer
FROM audit AS a JOIN audit_personal AS p ON p.record = a.id LEFT JOIN leaves AS l ON l.seq = a.seq;

-- The tree's hashes, 256 a tile (C2SP tlog-tiles).
CREATE TABLE tiles (
    level  BIGINT NOT NULL,
    number BIGINT NOT NULL,
    hashes BYTEA NOT NULL CHECK (length(hashes) % 32 = 0 AND length(hashes) BETWEEN 32 AND 8192),
    PRIMARY KEY (level, number)
);

-- How far it is. One row.
CREATE TABLE log_state (
    id         BIGINT PRIMARY KEY CHECK (id = 1),
    size       BIGINT NOT NULL,
    -- The last record that is a leaf.
    seq        BIGINT NOT NULL,
    -- What it is called, from its first checkpoint on.
    origin     TEXT COLLATE "C",
    -- What its checkpoints are verified with.
    public_key TEXT COLLATE "C"
);
INSERT INTO log_state (id, size, seq) VALUES (1, 0, 0);

-- What was signed of it (C2SP tlog-checkpoint), with cosignatures as they come.
CREATE TABLE checkpoints (
    size BIGINT PRIMARY KEY,
    time TEXT COLLATE "C" NOT NULL,
    note TEXT COLLATE "C" NOT NULL
);

-- Up to where each witness has cosigned this one.
CREATE TABLE cosigned (
    witness TEXT COLLATE "C" PRIMARY KEY,
    size    BIGINT NOT NULL
);

-- The logs of others that this service is a witness of: what it cosigned last.
CREATE TABLE witnessed (
    origin TEXT COLLATE "C" PRIMARY KEY,
    size   BIGINT NOT NULL CHECK (size > 0),
    root   BYTEA NOT NULL CHECK (length(root) = 32)
);

-- Puts decisions on record that were made at one revision of the registry, with what was minted and what policies were asked,
-- unless the registry has moved on. Answers its revision.
CREATE OR REPLACE FUNCTION commit_decisions(records TEXT, minted TEXT, decided_at BIGINT, inputs TEXT) RETURNS BIGINT
LANGUAGE plpgsql AS $$
DECLARE
    current BIGINT;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(registry_lock());
    SELECT revision INTO current FROM registry_revision;
    IF current = decided_at THEN
        WITH given AS (
            SELECT * FROM ROWS FROM (json_to_recordset(records::json) AS (
                id TEXT, time TEXT, kind TEXT, subject TEXT, agent TEXT, gateway TEXT, server TEXT, method TEXT, target TEXT,
                decision TEXT, reason TEXT, gateway_policy TEXT, service_policy TEXT, token_id TEXT, txn TEXT,
                subject_token_id TEXT, content_digest TEXT, request_id TEXT, source_ip TEXT, detail JSON, task TEXT,
                result_digest TEXT, salt TEXT)) WITH ORDINALITY),
        said AS (
            INSERT INTO audit_personal (record, salt, subject, target, reason, source_ip, detail)
            SELECT id, salt, subject, CASE WHEN method IN ('tools/call', 'prompts/get') THEN NULL ELSE target END, reason,
                   source_ip, detail
            FROM given)
        INSERT INTO audit (id, time, kind, agent, gateway, server, method, target, decision, gateway_policy, service_policy,
                           token_id, txn, subject_token_id, content_digest, result_digest, request_id, task)
        SELECT id, time, kind, agent, gateway, server, method,
               CASE WHEN method IN ('tools/call', 'prompts/get') THEN target END, decision, gateway_policy, service_policy,
               token_id, txn, subject_token_id, content_digest, result_digest, request_id, task
        FROM given ORDER BY ordinality;
        INSERT INTO tokens (jti, exp) SELECT value ->> 0, CAST(value ->> 1 AS BIGINT) FROM jsonb_each(minted);
        INSERT INTO decision_inputs (record, input, lacks)
        SELECT value ->> 0, value ->> 1, value ->> 2 FROM jsonb_each(inputs);
    END IF;
    RETURN current;
END $$;
