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
