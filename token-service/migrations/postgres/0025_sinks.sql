-- Where the log is sent to, and how far. The log itself is what waits to be sent.
CREATE TABLE sinks (
    name            TEXT COLLATE "C" PRIMARY KEY,
    -- The first leaf that was not sent.
    next_leaf       BIGINT NOT NULL,
    -- Who sends, and until when nobody else does (milliseconds since the epoch).
    holder          TEXT COLLATE "C",
    held_until      BIGINT NOT NULL DEFAULT 0,
    -- Records that the sink would not take.
    skipped         BIGINT NOT NULL DEFAULT 0,
    last_sent       TEXT COLLATE "C",
    last_error      TEXT COLLATE "C",
    last_error_time TEXT COLLATE "C"
);
