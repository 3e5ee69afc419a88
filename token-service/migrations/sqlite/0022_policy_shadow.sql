-- At most one row: a policy that is asked beside the one in force, and about whom.
CREATE TABLE policy_shadow (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    number  INTEGER NOT NULL REFERENCES policy_revisions (number),
    -- Lists of ids; empty for all.
    servers TEXT NOT NULL CHECK (json_type(servers) = 'array'),
    agents  TEXT NOT NULL CHECK (json_type(agents) = 'array'),
    since   TEXT NOT NULL
) STRICT;
CREATE TRIGGER policy_shadow_inserted AFTER INSERT ON policy_shadow
BEGIN UPDATE registry_revision SET revision = revision + 1; END;
CREATE TRIGGER policy_shadow_updated AFTER UPDATE ON policy_shadow
BEGIN UPDATE registry_revision SET revision = revision + 1; END;
CREATE TRIGGER policy_shadow_deleted AFTER DELETE ON policy_shadow
BEGIN UPDATE registry_revision SET revision = revision + 1; END;
