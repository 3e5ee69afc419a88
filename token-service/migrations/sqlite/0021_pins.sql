-- The tools whose definition somebody has approved (see writ_policy::pin).
CREATE TABLE pins (
    server     TEXT NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
    tool       TEXT NOT NULL,
    -- Digest and hints, as the snapshot has them.
    pin        TEXT NOT NULL,
    -- In its canonical form (RFC 8785), to be shown and compared.
    definition TEXT NOT NULL,
    pinned_by  TEXT NOT NULL,
    pinned_at  TEXT NOT NULL,
    PRIMARY KEY (server, tool)
) STRICT;
CREATE TRIGGER pins_inserted AFTER INSERT ON pins
BEGIN UPDATE registry_revision SET revision = revision + 1; END;
CREATE TRIGGER pins_updated AFTER UPDATE ON pins
BEGIN UPDATE registry_revision SET revision = revision + 1; END;
CREATE TRIGGER pins_deleted AFTER DELETE ON pins
BEGIN UPDATE registry_revision SET revision = revision + 1; END;
