-- Methods beyond those of MCP that calls to a server may name.
ALTER TABLE servers ADD COLUMN methods TEXT NOT NULL DEFAULT '[]' CHECK (json_type(methods) = 'array');

-- Keys that all processes on this database share. One of them seals the names that servers give out, so they are
-- kept as signing keys are: encrypted where a key for that is configured.
CREATE TABLE shared_keys_kept (
    purpose TEXT NOT NULL PRIMARY KEY,
    key     BLOB NOT NULL,
    sealed  INTEGER NOT NULL DEFAULT 0 CHECK (sealed IN (0, 1)),
    CHECK (sealed OR length(key) = 32)
) STRICT, WITHOUT ROWID;
INSERT INTO shared_keys_kept (purpose, key) SELECT purpose, key FROM shared_keys;
DROP TABLE shared_keys;
ALTER TABLE shared_keys_kept RENAME TO shared_keys;
