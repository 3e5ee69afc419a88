-- Where the log is sent to, and how far. The log itself is what waits to be sent.
CREATE TABLE sinks (
    name            TEXT NOT NULL PRIMARY KEY,
    -- The first leaf that was not sent.
    next_leaf       INTEGER NOT NULL,
    -- Who sends, and until when nobody else does (milliseconds since the epoch).
    holder          TEXT,
    held_until      INTEGER NOT NULL DEFAULT 0,
    -- Records that the sink would not take.
    skipped         INTEGER NOT NULL DEFAULT 0,
    last_sent       TEXT,
    last_error      TEXT,
    last_error_time TEXT
) STRICT, WITHOUT ROWID;
