//! The minted token: seconds of life, one server, one message (or looking around).

use jiff::Timestamp;
use serde::Serialize;
use writ_core::message::Travel;
use writ_policy::{decision::Obligations, input::SubjectKind};

use super::{
    Caller,
    request::{ACCESS_TOKEN, Details, ExchangeRequest},
};
use crate::{
    app::App,
    clock::unix,
    keys::SignError,
    oauth::{
        chain::{Actor, Chain, MayAct},
        dpop::Confirmation,
        openid::IdentityScope,
    },
    registry::{Gateway, Server},
    secret::new_id,
    store::commit::SingleUse,
    task::Task,
};

/// No minted token lives longer, in seconds.
const LONGEST_S: u64 = 60;

/// The claims of a minted token (RFC 9068 section 2.2, RFC 8693 section 4.1, RFC 9396 section 9.1).
#[derive(Debug, Serialize)]
struct MintedClaims<'a> {
    iss: &'a str,
    /// The user, or the agent where it acts for itself.
    sub: &'a str,
    /// The server's upstream audience.
    aud: &'a str,
    /// The agent.
    client_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    scope: &'a str,
    jti: &'a str,
    txn: &'a str,
    iat: u64,
    exp: u64,
    /// The gateway, for the agent, or for the server before this one (RFC 8693 section 4.1).
    act: Actor,
    /// The server, where it may call others (RFC 8693 section 4.4).
    #[serde(skip_serializing_if = "Option::is_none")]
    may_act: Option<MayAct>,
    /// The ids of the tokens, grants and impersonated agents that it comes from: it ends with any of them.
    derived_from: &'a [String],
    /// For the exchange that follows, where the server may call others.
    #[serde(skip_serializing_if = "Option::is_none")]
    chain: Option<&'a Chain>,
    /// As `chain`: an agent that acts for a workload is not told from one that acts for a user otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject_type: Option<SubjectKind>,
    authorization_details: [&'a Details; 1],
}

/// The answer (RFC 8693 section 2.2.1) with the ids that the gateway reports by.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    pub(super) access_token: String,
    pub(super) issued_token_type: &'static str,
    pub(super) token_type: &'static str,
    pub(super) expires_in: u64,
    pub(super) scope: String,
    pub(super) txn: String,
    pub(super) jti: String,
}

/// A token that is to be minted.
pub(super) struct Mint<'a> {
    pub(super) app: &'a App,
    pub(super) gateway: &'a Gateway,
    pub(super) server: &'a Server,
    pub(super) request: &'a ExchangeRequest,
    pub(super) caller: &'a Caller,
    /// The task that the call belongs to.
    pub(super) task: Option<&'a Task>,
    pub(super) obligations: &'a Obligations,
    pub(super) now: Timestamp,
}

/// A signed token, to be answered once it is committed.
pub(super) struct MintedToken {
    pub(super) answer: Answer,
    /// What is to be spent; none for a discovery token.
    pub(super) single_use: Option<SingleUse>,
}

impl Mint<'_> {
    /// Signs the token.
    pub(super) fn token(&self) -> Result<MintedToken, SignError> {
        let (claims, links) = (&self.caller.accepted.claims, &self.caller.links);
        let jti = new_id();
        let txn = self
            .task
            .map(|task| task.txn.clone())
            .or_else(|| links.txn.clone())
            .unwrap_or_else(new_id);
        let iat = unix(self.now);
        let exp = iat.saturating_add(self.ttl_s()).min(claims.expires);
        let exp = self.task.map_or(exp, |task| exp.min(unix(task.expires)));
        let before = links.act.clone();
        let key = claims.bound_to.clone().map(|jkt| Confirmation { jkt });
        let before = before.unwrap_or_else(|| Actor::new(&claims.client_id, None).holding(key));
        let passes_on =
            !self.server.may_call.is_empty() && self.request.message.travel() == Travel::SingleUse;
        let scope = scope(
            &claims.scopes,
            self.request.scope.as_deref(),
            self.obligations,
        );
        let access_token = self.app.keys.sign(&MintedClaims {
            iss: &self.app.config.issuer,
            sub: &claims.subject,
            aud: &self.server.upstream_audience,
            client_id: &claims.client_id,
            scope: &scope,
            jti: &jti,
            txn: &txn,
            iat,
            exp,
            act: Actor::new(self.gateway.id.as_str(), Some(before)),
            may_act: passes_on.then(|| MayAct {
                sub: self.server.id.to_string(),
            }),
            derived_from: &links.from,
            chain: passes_on.then_some(&links.chain),
            subject_type: passes_on.then_some(claims.subject_kind),
            authorization_details: [&self.request.details_for(self.server.id.as_str())],
        })?;
        let single_use = match self.request.message.travel() {
            Travel::SingleUse => Some(SingleUse {
                jti: jti.clone(),
                exp,
            }),
            Travel::Discovery => None,
        };
        let answer = Answer {
            access_token,
            issued_token_type: ACCESS_TOKEN,
            token_type: "Bearer",
            expires_in: exp.saturating_sub(iat),
            scope,
            txn,
            jti,
        };
        Ok(MintedToken { answer, single_use })
    }

    /// Seconds of life: as configured, fewer where the policy says so, never more than [`LONGEST_S`].
    fn ttl_s(&self) -> u64 {
        let configured = match self.request.message.travel() {
            Travel::SingleUse => self.app.config.tokens.minted_ttl,
            Travel::Discovery => self.app.config.tokens.discovery_ttl,
        };
        let longest = configured.as_secs().clamp(1, LONGEST_S);
        self.obligations
            .ttl_s
            .map_or(longest, |s| u64::from(s).clamp(1, longest))
    }
}

/// The caller's scopes that both gateway and policy want in the token; never one the caller does not have.
fn scope(caller: &[String], requested: Option<&str>, obligations: &Obligations) -> String {
    let wanted = |scope: &str| requested.is_none_or(|r| r.split(' ').any(|one| one == scope));
    let allowed = |scope: &str| {
        obligations
            .scopes
            .as_ref()
            .is_none_or(|s| s.iter().any(|one| one == scope))
    };
    let kept: Vec<&str> = caller
        .iter()
        .map(String::as_str)
        // What is about the user is for the client, and no server's.
        .filter(|s| wanted(s) && allowed(s) && IdentityScope::of(s).is_none())
        .collect();
    kept.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_only_ever_fewer() {
        let caller = ["a".to_owned(), "b".to_owned(), "openid".to_owned()];
        let with = |scopes: Option<&[&str]>| Obligations {
            ttl_s: None,
            scopes: scopes.map(|s| s.iter().map(|s| (*s).to_owned()).collect()),
        };
        assert_eq!(scope(&caller, None, &with(None)), "a b");
        assert_eq!(scope(&caller, Some("b c"), &with(None)), "b");
        assert_eq!(scope(&caller, None, &with(Some(&["a", "admin"]))), "a");
        assert_eq!(scope(&caller, Some("b"), &with(Some(&["a"]))), "");
    }
}
