-- A registration may be for watching what leaves.
ALTER TABLE gateways DROP CONSTRAINT gateways_kind_check;
ALTER TABLE gateways ADD CONSTRAINT gateways_kind_check CHECK (kind IN ('gateway', 'guard', 'egress'));

-- What was seen before, so that what is new is told of once: agents, a server's tools, and a user's agents that the user never
-- gave leave.
CREATE TABLE sightings (
    what  TEXT COLLATE "C" NOT NULL CHECK (what IN ('agent', 'tool', 'unapproved')),
    -- The server of a tool, the user of an agent.
    owner TEXT COLLATE "C" NOT NULL,
    name  TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (what, owner, name)
);
INSERT INTO sightings (what, owner, name)
SELECT DISTINCT 'agent', '', agent FROM audit WHERE kind IN ('mint', 'token_issued') AND agent IS NOT NULL
UNION
SELECT DISTINCT 'tool', server, target FROM audit
WHERE kind = 'mint' AND method = 'tools/call' AND server IS NOT NULL AND target IS NOT NULL;

-- MCP servers that agents use and nobody has registered.
CREATE TABLE shadow_servers (
    id     TEXT COLLATE "C" PRIMARY KEY,
    host   TEXT COLLATE "C" NOT NULL,
    -- What in it could be a credential is left out.
    path   TEXT COLLATE "C" NOT NULL,
    first  TEXT COLLATE "C" NOT NULL,
    last   TEXT COLLATE "C" NOT NULL,
    calls  BIGINT NOT NULL,
    fate   TEXT COLLATE "C" NOT NULL CHECK (fate IN ('open', 'adopted', 'dismissed')),
    server TEXT COLLATE "C",
    reason TEXT COLLATE "C"
);
CREATE TABLE shadow_uses (
    shadow TEXT COLLATE "C" NOT NULL REFERENCES shadow_servers (id) ON DELETE CASCADE,
    what   TEXT COLLATE "C" NOT NULL CHECK (what IN ('client', 'source', 'tool')),
    name   TEXT COLLATE "C" NOT NULL,
    calls  BIGINT NOT NULL,
    PRIMARY KEY (shadow, what, name)
);
