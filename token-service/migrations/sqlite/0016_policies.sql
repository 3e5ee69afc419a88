-- What has been published: each revision whole, so that it can be put in force again and its decisions explained.
CREATE TABLE policy_revisions (
    number       INTEGER PRIMARY KEY AUTOINCREMENT,
    -- The digest of what decides, as audit records name it. Two that differ in their tests only share it.
    revision     TEXT NOT NULL,
    -- Texts by path.
    files        TEXT NOT NULL CHECK (json_type(files) = 'object'),
    message      TEXT NOT NULL,
    author       TEXT NOT NULL,
    -- Where it was read from, and what its manifest calls it.
    origin       TEXT NOT NULL,
    named        TEXT,
    published_at TEXT NOT NULL
) STRICT;
CREATE INDEX policy_revisions_by_revision ON policy_revisions (revision);
CREATE TRIGGER policy_revisions_stay BEFORE UPDATE ON policy_revisions
BEGIN SELECT RAISE(ABORT, 'published policies are never changed'); END;
CREATE TRIGGER policy_revisions_are_kept BEFORE DELETE ON policy_revisions
BEGIN SELECT RAISE(ABORT, 'published policies are kept'); END;

-- One row, once something has been published.
CREATE TABLE policy_in_force (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    number INTEGER NOT NULL REFERENCES policy_revisions (number),
    since  TEXT NOT NULL
) STRICT;
CREATE TRIGGER policy_in_force_inserted AFTER INSERT ON policy_in_force
BEGIN UPDATE registry_revision SET revision = revision + 1; END;
CREATE TRIGGER policy_in_force_updated AFTER UPDATE ON policy_in_force
BEGIN UPDATE registry_revision SET revision = revision + 1; END;

-- One row: what the bundle server gave last that was published, so that nobody publishes it again, after a rollback least of all.
CREATE TABLE policy_bundle (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    url    TEXT NOT NULL,
    digest BLOB NOT NULL CHECK (length(digest) = 32)
) STRICT;
