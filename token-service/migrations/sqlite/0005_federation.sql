-- People who sign in at an identity provider of their organisation, and how their sign-ins begin and end.

-- A user without a password ('') signs in at a provider only.
ALTER TABLE users ADD COLUMN display_name TEXT;
ALTER TABLE users ADD COLUMN email TEXT;
ALTER TABLE users ADD COLUMN email_verified INTEGER NOT NULL DEFAULT 0 CHECK (email_verified IN (0, 1));

-- The providers that the configuration names or once named. Who comes from one that is switched off, or is named no
-- more, is switched off too.
CREATE TABLE identity_providers (
    issuer     TEXT NOT NULL PRIMARY KEY,
    id         TEXT NOT NULL,
    configured INTEGER NOT NULL CHECK (configured IN (0, 1)),
    status     TEXT NOT NULL CHECK (status IN ('approved', 'disabled'))
) STRICT, WITHOUT ROWID;
CREATE TRIGGER identity_providers_inserted AFTER INSERT ON identity_providers
BEGIN UPDATE registry_revision SET revision = revision + 1; END;
CREATE TRIGGER identity_providers_updated AFTER UPDATE ON identity_providers
BEGIN UPDATE registry_revision SET revision = revision + 1; END;

-- Who somebody is at a provider: issuer and subject together, and nothing else (OpenID Connect Core section 5.7).
CREATE TABLE identities (
    issuer     TEXT NOT NULL,
    subject    TEXT NOT NULL,
    user       TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    created_at TEXT NOT NULL,
    -- Sign-ins that began before this are refused: the provider has ended them.
    ended_at   TEXT,
    PRIMARY KEY (issuer, subject)
) STRICT, WITHOUT ROWID;
CREATE INDEX identities_by_user ON identities (user);

CREATE VIEW inactive_users AS
SELECT name FROM users
WHERE status = 'disabled'
   OR (password_hash = '' AND NOT EXISTS (
        SELECT 1 FROM identities JOIN identity_providers USING (issuer)
        WHERE identities.user = users.name AND configured = 1 AND identity_providers.status = 'approved'));

-- Sign-ins on their way through a provider. Nonce and PKCE verifier are derived from the browser's cookie, so that
-- nothing in here completes one.
CREATE TABLE pending_sign_ins (
    state_hash BLOB NOT NULL PRIMARY KEY,
    browser    BLOB NOT NULL,
    issuer     TEXT NOT NULL,
    -- The query of the authorization request to go back to.
    query      TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX pending_sign_ins_by_time ON pending_sign_ins (created_at);

ALTER TABLE sessions ADD COLUMN issuer TEXT;
ALTER TABLE sessions ADD COLUMN upstream_sid TEXT;
-- The hint for signing out at the provider (RP-Initiated Logout section 2).
ALTER TABLE sessions ADD COLUMN id_token TEXT;
CREATE INDEX sessions_by_upstream ON sessions (issuer, upstream_sid) WHERE upstream_sid IS NOT NULL;

-- Logout tokens that were used, for as long as one could come again or a sign-in of the same session be on its way.
CREATE TABLE upstream_logouts (
    issuer     TEXT NOT NULL,
    jti        TEXT NOT NULL,
    sid        TEXT,
    expires_at TEXT NOT NULL,
    PRIMARY KEY (issuer, jti)
) STRICT, WITHOUT ROWID;
CREATE INDEX upstream_logouts_by_expiry ON upstream_logouts (expires_at);

-- Where browsers go on to that are signing out at a provider.
CREATE TABLE pending_logouts (
    state_hash BLOB NOT NULL PRIMARY KEY,
    location   TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX pending_logouts_by_time ON pending_logouts (created_at);
