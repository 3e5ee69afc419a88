-- What policies were asked, beside the records of what they decided, so that it can be asked again. Kept for a while only:
-- unlike the trail, rows here are deleted.
CREATE TABLE decision_inputs (
    -- The record's id: a UUIDv7, so that the oldest come first.
    record TEXT PRIMARY KEY NOT NULL,
    -- The `input` document as JSON; none where it was too long.
    input  TEXT,
    -- What it lacks (see writ_policy::kept::Lack).
    lacks  TEXT CHECK (lacks IN ('arguments', 'long_arguments', 'everything'))
) STRICT;
