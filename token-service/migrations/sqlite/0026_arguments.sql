-- What calls carried, beside the records of them, where the configuration says to keep it: encrypted, for a while.
CREATE TABLE kept_arguments (
    -- The record's id: a UUIDv7, so that the oldest come first.
    record  TEXT PRIMARY KEY NOT NULL,
    -- base64url; it opens for this record only.
    carried TEXT NOT NULL
) STRICT, WITHOUT ROWID;
