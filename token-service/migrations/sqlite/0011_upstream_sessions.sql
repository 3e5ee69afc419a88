-- Whom a provider means by a session of its own, for as long as anything that came of it can be alive: tokens that an agent
-- got outlive the session here that they were granted in.
CREATE TABLE upstream_sessions (
    issuer     TEXT NOT NULL,
    sid        TEXT NOT NULL,
    user       TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    keep_until TEXT NOT NULL,
    PRIMARY KEY (issuer, sid, user)
) STRICT, WITHOUT ROWID;
CREATE INDEX upstream_sessions_by_keep ON upstream_sessions (keep_until);
INSERT INTO upstream_sessions (issuer, sid, user, keep_until)
SELECT issuer, upstream_sid, user, max(expires_at) FROM sessions
WHERE issuer IS NOT NULL AND upstream_sid IS NOT NULL GROUP BY issuer, upstream_sid, user;
