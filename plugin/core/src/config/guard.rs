//! `mode: guard`: the filter at a server's door.

use std::time::Duration;

use serde::Deserialize;

use super::{
    Common, Config, ConfigError, Hosts, Mode, RawLimits, RawMode, RawTokenService, TokenService,
};
use crate::guard::ROW;
use crate::units;

/// Tokens that a guard with a memory of its own remembers at most.
const MOST_ENTRIES: u32 = 1 << 20;

/// A guard.
#[derive(Debug)]
pub struct Guard {
    /// Where keys and revocations come from, tokens are spent, and rogue accesses are reported.
    pub service: TokenService,
    /// The guarded server's id in the registry.
    pub server: String,
    /// Who remembers which tokens were spent.
    pub single_use: SingleUse,
    /// What becomes of the token.
    pub upstream_token: UpstreamToken,
    /// Who checks its signature.
    pub signature: Signature,
}

/// Who remembers which tokens were spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SingleUse {
    /// The token service: a token is good once, however many guards there are.
    Global,
    /// This proxy: a token is good once at each of them.
    Local {
        /// How many tokens it remembers at least.
        entries: u32,
    },
}

/// What becomes of the token of a call that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamToken {
    /// The server gets it.
    Forward,
    /// The server does not.
    Strip,
}

/// Who checks the token's signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signature {
    /// The filter.
    Here,
    /// Envoy's `jwt_authn` before the filter, which puts the claims under this key.
    JwtAuthn(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawGuard {
    #[serde(rename = "mode")]
    _mode: RawMode,
    server: String,
    token_service: RawTokenService,
    #[serde(default)]
    single_use: RawSingleUse,
    local: Option<RawLocal>,
    #[serde(default = "forward")]
    upstream_token: UpstreamToken,
    #[serde(default)]
    signature: RawSignature,
    jwt_authn: Option<RawJwtAuthn>,
    #[serde(default)]
    limits: RawGuardLimits,
    #[serde(default = "super::default_skew", deserialize_with = "units::duration")]
    clock_skew: Duration,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawSingleUse {
    #[default]
    Global,
    Local,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawSignature {
    #[default]
    Here,
    JwtAuthn,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLocal {
    entries: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawJwtAuthn {
    payload_in_metadata: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawGuardLimits {
    #[serde(deserialize_with = "units::size")]
    body: usize,
}

impl Default for RawGuardLimits {
    fn default() -> Self {
        Self {
            body: RawLimits::default().body,
        }
    }
}

/// The token names this server as its audience and is spent when the server gets it; a server that knows its callers, or
/// calls other servers for them, needs it.
fn forward() -> UpstreamToken {
    UpstreamToken::Forward
}

impl RawGuard {
    pub(super) fn check(self, env: impl Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
        if self.server.is_empty() {
            return Err(ConfigError::value(
                "server",
                "name the guarded MCP server, as in `writ server add`",
            ));
        }
        let single_use = match (self.single_use, self.local) {
            (RawSingleUse::Global, None) => SingleUse::Global,
            (RawSingleUse::Global, Some(_)) => {
                return Err(ConfigError::value(
                    "local",
                    "is for `single_use: local` only",
                ));
            }
            (RawSingleUse::Local, local) => SingleUse::Local {
                entries: local.map_or(1 << 16, |local| local.entries),
            },
        };
        if let SingleUse::Local { entries } = single_use
            && !(ROW..=MOST_ENTRIES).contains(&entries)
        {
            return Err(ConfigError::value(
                "local.entries",
                format!("must be from {ROW} to {MOST_ENTRIES}"),
            ));
        }
        let signature = match (self.signature, self.jwt_authn) {
            (RawSignature::Here, None) => Signature::Here,
            (RawSignature::Here, Some(_)) => {
                return Err(ConfigError::value(
                    "jwt_authn",
                    "is for `signature: jwt_authn` only",
                ));
            }
            (RawSignature::JwtAuthn, Some(jwt_authn))
                if !jwt_authn.payload_in_metadata.is_empty() =>
            {
                Signature::JwtAuthn(jwt_authn.payload_in_metadata)
            }
            (RawSignature::JwtAuthn, _) => {
                return Err(ConfigError::value(
                    "jwt_authn.payload_in_metadata",
                    "name the key under which jwt_authn puts the claims, as in its provider",
                ));
            }
        };
        let common = Common {
            limits: RawLimits {
                body: self.limits.body,
                ..RawLimits::default()
            },
            clock_skew: self.clock_skew,
            policy_headers: Vec::new(),
            allowed_origins: Vec::new(),
            // Who comes here comes from a gateway, by whatever name it has for the server.
            allowed_hosts: Hosts::Any,
        };
        common.check(Mode::Guard(Box::new(Guard {
            service: self.token_service.check(env)?,
            server: self.server,
            single_use,
            upstream_token: self.upstream_token,
            signature,
        })))
    }
}
