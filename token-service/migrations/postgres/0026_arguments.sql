-- What calls carried, beside the records of them, where the configuration says to keep it: encrypted, for a while.
CREATE TABLE kept_arguments (
    -- The record's id: a UUIDv7, so that the oldest come first.
    record  TEXT COLLATE "C" PRIMARY KEY,
    -- base64url; it opens for this record only.
    carried TEXT COLLATE "C" NOT NULL
);

-- Keeps what calls carried whose decisions were put on record: those that were made at the registry's `current` revision. Answers
-- that.
CREATE FUNCTION keep_arguments(current BIGINT, decided_at BIGINT, kept TEXT) RETURNS BIGINT
LANGUAGE plpgsql AS $$
BEGIN
    IF current = decided_at THEN
        INSERT INTO kept_arguments (record, carried) SELECT value ->> 0, value ->> 1 FROM jsonb_each(kept);
    END IF;
    RETURN current;
END $$;
