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
