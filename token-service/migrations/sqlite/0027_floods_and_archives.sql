-- What is counted is put on record when it is over: how many were on record last, and how often that was said.
ALTER TABLE tallies ADD COLUMN recorded INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tallies ADD COLUMN told     INTEGER NOT NULL DEFAULT 0;
CREATE INDEX tallies_to_tell ON tallies (last) WHERE count > recorded;

-- The same of rogue accesses beyond those that have a record of their own.
ALTER TABLE rogue_counts ADD COLUMN beyond   INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rogue_counts ADD COLUMN first    TEXT;
ALTER TABLE rogue_counts ADD COLUMN last     TEXT;
ALTER TABLE rogue_counts ADD COLUMN recorded INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rogue_counts ADD COLUMN told     INTEGER NOT NULL DEFAULT 0;

-- Records that are archived and no longer here: from the first on, each from where the one before ends.
CREATE TABLE archives (
    -- Leaves before the archive's end.
    size   INTEGER PRIMARY KEY,
    first  INTEGER NOT NULL UNIQUE,
    time   TEXT NOT NULL,
    file   TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    -- By the record of the erasure: how many records in it say nothing about a person any more.
    erased TEXT NOT NULL CHECK (json_type(erased) = 'object'),
    CHECK (first < size)
) STRICT;

-- What is archived may go.
DROP TRIGGER audit_is_append_only_delete;
CREATE TRIGGER audit_is_append_only_delete BEFORE DELETE ON audit
WHEN NOT EXISTS (SELECT 1 FROM leaves WHERE seq = OLD.seq AND leaf < (SELECT max(size) FROM archives))
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
DROP TRIGGER audit_personal_is_append_only_delete;
CREATE TRIGGER audit_personal_is_append_only_delete BEFORE DELETE ON audit_personal
WHEN NOT EXISTS (SELECT 1 FROM audit AS a JOIN leaves AS l ON l.seq = a.seq
                 WHERE a.id = OLD.record AND l.leaf < (SELECT max(size) FROM archives))
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
DROP TRIGGER leaves_are_kept;
CREATE TRIGGER leaves_are_kept BEFORE DELETE ON leaves
WHEN OLD.leaf >= coalesce((SELECT max(size) FROM archives), 0)
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE INDEX checkpoints_by_time ON checkpoints (time);
