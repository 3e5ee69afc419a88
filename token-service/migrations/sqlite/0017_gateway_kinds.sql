-- What a registration is for: a gateway mints tokens, a guard spends them. Neither does the other's work with its credential.
ALTER TABLE gateways ADD COLUMN kind TEXT NOT NULL DEFAULT 'gateway' CHECK (kind IN ('gateway', 'guard'));

-- Rogue accesses of a day, by who saw them: each guard of a server has a share of the records that a day may have, so that a
-- noisy one hides nothing that another sees.
CREATE TABLE rogue_counts (
    day      TEXT NOT NULL,
    server   TEXT NOT NULL,
    reporter TEXT NOT NULL,
    count    INTEGER NOT NULL,
    PRIMARY KEY (day, server, reporter)
) STRICT, WITHOUT ROWID;
DELETE FROM tallies WHERE kind = 'rogue';
