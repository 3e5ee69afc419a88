-- How often people were erased: whoever writes an archive sees whether somebody was meanwhile.
ALTER TABLE log_state ADD COLUMN erasures INTEGER NOT NULL DEFAULT 0;
