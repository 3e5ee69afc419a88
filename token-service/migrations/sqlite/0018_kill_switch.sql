-- The kill switch, beyond registrations that are disabled and ids that are revoked.

-- Whose tokens that were issued up to a moment (NumericDate) are taken back. Forgotten once all of them have expired.
CREATE TABLE revoked_until (
    what       TEXT NOT NULL CHECK (what IN ('subject', 'agent')),
    id         TEXT NOT NULL,
    until      INTEGER NOT NULL,
    expires_at TEXT NOT NULL,
    PRIMARY KEY (what, id)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER revoked_until_inserted AFTER INSERT ON revoked_until
BEGIN UPDATE registry_revision SET revision = revision + 1; END;
CREATE TRIGGER revoked_until_updated AFTER UPDATE ON revoked_until
BEGIN UPDATE registry_revision SET revision = revision + 1; END;

-- At most one row: while it is there, only those go on who are on its list (see writ_policy::stops::Lockdown).
CREATE TABLE lockdown (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    allow TEXT NOT NULL CHECK (json_type(allow) = 'object')
) STRICT;
CREATE TRIGGER lockdown_inserted AFTER INSERT ON lockdown
BEGIN UPDATE registry_revision SET revision = revision + 1; END;
CREATE TRIGGER lockdown_updated AFTER UPDATE ON lockdown
BEGIN UPDATE registry_revision SET revision = revision + 1; END;
CREATE TRIGGER lockdown_deleted AFTER DELETE ON lockdown
BEGIN UPDATE registry_revision SET revision = revision + 1; END;
