-- The issuer's signing keys, each from its announcement until nothing that it signed can be alive.
-- Which key signs follows from the times alone, so that all replicas change over at the same moment.

CREATE TABLE signing_keys (
    -- RFC 7638 thumbprint.
    kid          TEXT PRIMARY KEY,
    alg          TEXT NOT NULL CHECK (alg IN ('EdDSA', 'ES256', 'RS256')),
    -- PKCS #8 in PEM; where sealed, a nonce and its XChaCha20-Poly1305 under the configured key.
    private      BLOB NOT NULL,
    sealed       INTEGER NOT NULL CHECK (sealed IN (0, 1)),
    announced_at TEXT NOT NULL,
    signs_from   TEXT NOT NULL,
    signs_until  TEXT,
    -- How long it stays published after that; never shortened, since tokens were signed under the longer time.
    overlap_s    INTEGER NOT NULL CHECK (overlap_s >= 0)
) STRICT, WITHOUT ROWID;

-- Snapshots carry the published keys.
CREATE TRIGGER signing_keys_inserted AFTER INSERT ON signing_keys
BEGIN UPDATE registry_revision SET revision = revision + 1; END;
CREATE TRIGGER signing_keys_updated AFTER UPDATE ON signing_keys
BEGIN UPDATE registry_revision SET revision = revision + 1; END;
CREATE TRIGGER signing_keys_deleted AFTER DELETE ON signing_keys
BEGIN UPDATE registry_revision SET revision = revision + 1; END;
