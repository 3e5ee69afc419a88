-- Keys that all processes on this database share, none of which proves who anybody is: what a nonce is sealed with
-- (RFC 9449 section 8) only shows that it was given out lately.
CREATE TABLE shared_keys (
    purpose TEXT NOT NULL PRIMARY KEY,
    key     BLOB NOT NULL CHECK (length(key) = 32)
) STRICT, WITHOUT ROWID;
