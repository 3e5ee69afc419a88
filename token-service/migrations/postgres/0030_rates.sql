-- How often something was done lately, counted by all services together. Whose a cell is is a digest, with a key of `shared_keys`.
CREATE TABLE rates (
    counter TEXT COLLATE "C" NOT NULL CHECK (counter IN ('address', 'client', 'password', 'passwords_of_address')),
    cell    BIGINT NOT NULL,
    -- Theoretical arrival time (ITU-T I.371), in nanoseconds since the epoch. When it is past, the row says nothing any more.
    tat     BIGINT NOT NULL,
    PRIMARY KEY (counter, cell)
);
CREATE INDEX rates_by_tat ON rates (tat);
