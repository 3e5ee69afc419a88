-- What is counted is put on record when it is over: how many were on record last, and how often that was said.
ALTER TABLE tallies ADD COLUMN recorded BIGINT NOT NULL DEFAULT 0;
ALTER TABLE tallies ADD COLUMN told     BIGINT NOT NULL DEFAULT 0;
CREATE INDEX tallies_to_tell ON tallies (last) WHERE count > recorded;

-- The same of rogue accesses beyond those that have a record of their own.
ALTER TABLE rogue_counts ADD COLUMN beyond   BIGINT NOT NULL DEFAULT 0;
ALTER TABLE rogue_counts ADD COLUMN first    TEXT COLLATE "C";
ALTER TABLE rogue_counts ADD COLUMN last     TEXT COLLATE "C";
ALTER TABLE rogue_counts ADD COLUMN recorded BIGINT NOT NULL DEFAULT 0;
ALTER TABLE rogue_counts ADD COLUMN told     BIGINT NOT NULL DEFAULT 0;

-- Records that are archived and no longer here: from the first on, each from where the one before ends.
CREATE TABLE archives (
    -- Leaves before the archive's end.
    size   BIGINT PRIMARY KEY,
    first  BIGINT NOT NULL UNIQUE,
    time   TEXT COLLATE "C" NOT NULL,
    file   TEXT COLLATE "C" NOT NULL,
    sha256 TEXT COLLATE "C" NOT NULL,
    -- By the record of the erasure: how many records in it say nothing about a person any more.
    erased TEXT COLLATE "C" NOT NULL CHECK (json_type(erased) = 'object'),
    CHECK (first < size)
);

-- What is archived may go.
CREATE FUNCTION refuse_unless_archived() RETURNS TRIGGER LANGUAGE plpgsql AS $$
DECLARE
    place BIGINT;
BEGIN
    IF TG_TABLE_NAME = 'leaves' THEN
        place := OLD.leaf;
    ELSIF TG_TABLE_NAME = 'audit' THEN
        SELECT leaf INTO place FROM leaves WHERE seq = OLD.seq;
    ELSE
        SELECT l.leaf INTO place FROM audit AS a JOIN leaves AS l ON l.seq = a.seq WHERE a.id = OLD.record;
    END IF;
    IF place IS NULL OR place >= coalesce((SELECT max(size) FROM archives), 0) THEN
        RAISE EXCEPTION 'the audit trail is append-only';
    END IF;
    RETURN OLD;
END $$;
DROP TRIGGER audit_is_append_only ON audit;
CREATE TRIGGER audit_is_append_only BEFORE UPDATE ON audit
FOR EACH ROW EXECUTE FUNCTION refuse('the audit trail is append-only');
CREATE TRIGGER audit_goes_when_archived BEFORE DELETE ON audit FOR EACH ROW EXECUTE FUNCTION refuse_unless_archived();
DROP TRIGGER audit_personal_is_append_only ON audit_personal;
CREATE TRIGGER audit_personal_goes_when_archived BEFORE DELETE ON audit_personal
FOR EACH ROW EXECUTE FUNCTION refuse_unless_archived();
DROP TRIGGER leaves_stay ON leaves;
CREATE TRIGGER leaves_stay BEFORE UPDATE ON leaves
FOR EACH ROW EXECUTE FUNCTION refuse('the audit trail is append-only');
CREATE TRIGGER leaves_go_when_archived BEFORE DELETE ON leaves FOR EACH ROW EXECUTE FUNCTION refuse_unless_archived();
CREATE INDEX checkpoints_by_time ON checkpoints (time);
