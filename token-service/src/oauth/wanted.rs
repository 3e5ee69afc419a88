//! What a client wants of a user: a server, as far as the scope goes, or to know who they are, or both.

use super::{OAuthError, metadata::Endpoints, openid::IdentityScope, scope::Scope, target::Target};
use crate::registry::{Agent, Grant, Registry};

/// What is asked for, or was granted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The server, and what of it; none where only the user's identity is wanted.
    pub target: Option<Target>,
    /// What is wanted to be known about the user.
    pub identity: Vec<IdentityScope>,
}

impl Wanted {
    /// What an authorization request asks for. The resource may be left out where only the user's identity is asked
    /// for, or where the client has a default.
    ///
    /// # Errors
    /// [`OAuthError::InvalidTarget`] (RFC 8707 section 2) and [`OAuthError::InvalidScope`].
    pub fn of(
        registry: &Registry,
        agent: &Agent,
        resource: Option<&str>,
        scope: Option<&str>,
    ) -> Result<Self, OAuthError> {
        let (identity, rest) = split(scope.unwrap_or_default());
        let only_identity = !identity.is_empty() && rest.is_empty();
        let resource = match resource {
            None if !only_identity => agent.metadata.default_resource.as_deref(),
            given => given,
        };
        let target = match (resource, only_identity) {
            (None, true) => None,
            (Some(_), true) => Some(Target {
                scope: Scope::default(),
                ..Target::of(registry, resource, None)?
            }),
            (_, false) => {
                let rest = Some(rest.join(" ")).filter(|_| scope.is_some());
                Some(Target::of(registry, resource, rest.as_deref())?)
            }
        };
        let mut wanted = Self { target, identity };
        wanted.bound_by(agent, scope.is_some())?;
        Ok(wanted)
    }

    /// What was granted before, as far as the server still has it.
    ///
    /// # Errors
    /// [`OAuthError::InvalidTarget`] when the server is no longer in use.
    pub fn granted(
        registry: &Registry,
        resource: Option<&str>,
        scope: &str,
    ) -> Result<Self, OAuthError> {
        let (identity, rest) = split(scope);
        let target = match resource {
            None => None,
            resource => {
                let mut target = Target::of(registry, resource, None)?;
                target.scope.keep(|word| rest.contains(&word));
                Some(target)
            }
        };
        Ok(Self { target, identity })
    }

    /// Shrinks to a part of it (RFC 6749 section 6); all of it where nothing is named.
    ///
    /// # Errors
    /// [`OAuthError::InvalidScope`] when that is no part of it.
    pub fn narrowed(mut self, scope: Option<&str>) -> Result<Self, OAuthError> {
        let Some(scope) = scope else {
            return Ok(self);
        };
        let has: Vec<String> = self.words().map(str::to_owned).collect();
        let words: Vec<&str> = scope.split(' ').collect();
        if words.iter().any(|word| !has.iter().any(|h| h == word)) {
            let told = "scope asks for more than was granted; leave it out to get all of that";
            return Err(OAuthError::InvalidScope(told.into()));
        }
        self.identity.retain(|one| words.contains(&one.word()));
        if let Some(target) = &mut self.target {
            target.scope.keep(|word| words.contains(&word));
        }
        Ok(self)
    }

    /// The words of it, the server's first.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        let server = self.target.iter().flat_map(|target| target.scope.words());
        server.chain(self.identity.iter().map(|scope| scope.word()))
    }

    /// As a `scope` value.
    #[must_use]
    pub fn scope(&self) -> String {
        self.words().collect::<Vec<_>>().join(" ")
    }

    /// The server's resource identifier.
    #[must_use]
    pub fn resource(&self) -> Option<&str> {
        Some(self.target.as_ref()?.server.resource.as_str())
    }

    /// Whom the access token is for: the server; without one, the issuer's own userinfo.
    #[must_use]
    pub fn audience(&self, issuer: &str) -> String {
        self.resource().map_or_else(
            || Endpoints::of(issuer).url("/oauth/userinfo"),
            str::to_owned,
        )
    }

    /// Keeps to what the client registered for.
    fn bound_by(&mut self, agent: &Agent, named: bool) -> Result<(), OAuthError> {
        if !agent.grants.contains(&Grant::RefreshToken) {
            // OpenID Connect Core section 11: ignored where it cannot be had.
            self.identity
                .retain(|scope| *scope != IdentityScope::OfflineAccess);
        }
        let Some(registered) = &agent.metadata.scope else {
            return Ok(());
        };
        let may = |word: &str| {
            registered.split(' ').any(|one| one == word)
                || word == IdentityScope::OfflineAccess.word()
        };
        if !named && let Some(target) = &mut self.target {
            target.scope.keep(may);
        }
        match self.words().find(|word| !may(word)) {
            Some(word) => {
                let told = format!("this client is not registered for the scope {word}");
                Err(OAuthError::InvalidScope(told.into()))
            }
            None => Ok(()),
        }
    }
}

/// The words about the user, each once, and all others.
fn split(scope: &str) -> (Vec<IdentityScope>, Vec<&str>) {
    let mut identity = Vec::new();
    let mut rest = Vec::new();
    for word in scope.split(' ').take_while(|_| !scope.is_empty()) {
        match IdentityScope::of(word) {
            Some(one) if identity.contains(&one) => {}
            Some(one) => identity.push(one),
            None => rest.push(word),
        }
    }
    (identity, rest)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use writ_policy::stops::Stops;

    use super::*;
    use crate::{
        registry::{AuthMethod, Id, Revoked, Server},
        secret::SecretHash,
    };

    const RESOURCE: &str = "https://ledger.test/mcp";

    fn registry() -> Registry {
        let server = Server {
            scopes: vec!["read".into(), "write".into()],
            ..Server::new(
                Id::parse("ledger").unwrap(),
                RESOURCE.into(),
                "urn:ledger".into(),
                SecretHash::of("x"),
            )
        };
        Registry::new(
            1,
            vec![server],
            vec![],
            vec![],
            BTreeSet::new(),
            Revoked::default(),
            Stops::default(),
        )
    }

    fn agent() -> Agent {
        Agent {
            grants: vec![Grant::AuthorizationCode, Grant::RefreshToken],
            ..Agent::new("app".parse().unwrap(), "App", AuthMethod::None)
        }
    }

    fn asked(agent: &Agent, resource: Option<&str>, scope: Option<&str>) -> Result<String, String> {
        Wanted::of(&registry(), agent, resource, scope)
            .map(|w| format!("{} for {}", w.scope(), w.audience("https://writ.test")))
            .map_err(|e| e.code().to_owned())
    }

    #[test]
    fn only_who_asks_for_nothing_but_identity_needs_no_resource() {
        let userinfo = "https://writ.test/oauth/userinfo";
        for (resource, scope, expected) in [
            (
                None,
                Some("openid email"),
                Ok(format!("openid email for {userinfo}")),
            ),
            (None, Some("openid read"), Err("invalid_target".to_owned())),
            (None, None, Err("invalid_target".to_owned())),
            (
                Some(RESOURCE),
                None,
                Ok(format!("read write for {RESOURCE}")),
            ),
            (
                Some(RESOURCE),
                Some("openid"),
                Ok(format!("openid for {RESOURCE}")),
            ),
            (
                Some(RESOURCE),
                Some("openid write offline_access openid"),
                Ok(format!("write openid offline_access for {RESOURCE}")),
            ),
            (
                Some(RESOURCE),
                Some("openid  write"),
                Err("invalid_scope".to_owned()),
            ),
            (
                Some("https://other.test"),
                Some("openid"),
                Err("invalid_target".to_owned()),
            ),
        ] {
            assert_eq!(
                asked(&agent(), resource, scope),
                expected,
                "{resource:?} {scope:?}"
            );
        }
    }

    #[test]
    fn a_client_may_have_a_default_and_a_bound() {
        let mut agent = agent();
        agent.metadata.default_resource = Some(RESOURCE.to_owned());
        assert_eq!(
            asked(&agent, None, Some("read")),
            Ok(format!("read for {RESOURCE}"))
        );
        agent.metadata.scope = Some("read".to_owned());
        assert_eq!(
            asked(&agent, None, None),
            Ok(format!("read for {RESOURCE}"))
        );
        assert_eq!(
            asked(&agent, None, Some("write")),
            Err("invalid_scope".to_owned())
        );
        agent.grants = vec![Grant::AuthorizationCode];
        assert_eq!(
            asked(&agent, None, Some("read offline_access")),
            Ok(format!("read for {RESOURCE}"))
        );
    }

    #[test]
    fn what_was_granted_only_ever_shrinks() {
        let granted = |scope: &str| Wanted::granted(&registry(), Some(RESOURCE), scope).unwrap();
        assert_eq!(granted("").scope(), "");
        assert_eq!(granted("read gone openid").scope(), "read openid");
        let narrowed = |scope| granted("read openid").narrowed(scope).map(|w| w.scope());
        assert_eq!(narrowed(None).unwrap(), "read openid");
        assert_eq!(narrowed(Some("openid")).unwrap(), "openid");
        assert!(narrowed(Some("write")).is_err());
        assert!(narrowed(Some("read write")).is_err());
    }
}
