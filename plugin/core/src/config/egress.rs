//! `mode: egress`: the filter where agents' traffic leaves.

use serde::Deserialize;

use super::{
    Common, Config, ConfigError, Hosts, Mode, RawLimits, RawMode, RawTokenService, TokenService,
};

/// A watch on what leaves.
#[derive(Debug)]
pub struct Egress {
    /// Where the registry comes from, and what was seen is reported.
    pub service: TokenService,
    /// What becomes of MCP traffic to a server that is not registered.
    pub unknown: Unknown,
}

/// What becomes of MCP traffic to a server that is not registered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unknown {
    /// It passes, and is on record.
    #[default]
    Record,
    /// It is refused, and is on record.
    Refuse,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEgress {
    #[serde(rename = "mode")]
    _mode: RawMode,
    token_service: RawTokenService,
    #[serde(default)]
    unknown: Unknown,
}

impl RawEgress {
    pub(super) fn check(self, env: impl Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
        let common = Common {
            limits: RawLimits::default(),
            clock_skew: super::default_skew(),
            policy_headers: Vec::new(),
            allowed_origins: Vec::new(),
            allowed_hosts: Hosts::Any,
        };
        common.check(Mode::Egress(Egress {
            service: self.token_service.check(env)?,
            unknown: self.unknown,
        }))
    }
}
