//! Scopes (RFC 6749 section 3.3): a set of words, never more than the server has.

use std::fmt;

use crate::registry::Server;

/// More than any server has.
const MAX_SCOPES: usize = 64;

/// A set of scopes, in the order asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope(Vec<String>);

/// Why a scope is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// Not in the grammar of RFC 6749 section 3.3.
    #[error("scope must be words of printable ASCII separated by single spaces")]
    Malformed,
    /// Not among the server's.
    #[error("this server has no scope {0}; leave scope out to ask for all it has")]
    Unknown(String),
}

impl Scope {
    /// What a client gets that asks this server for `requested`: exactly that, or all the server has when it names
    /// nothing. Policy decides each call, whatever the scope.
    ///
    /// # Errors
    /// When the text is malformed, or names a scope that the server does not have.
    pub fn grant(requested: Option<&str>, server: &Server) -> Result<Self, ScopeError> {
        let Some(requested) = requested else {
            return Ok(Self(server.scopes.clone()));
        };
        let mut granted = Vec::new();
        for word in requested.split(' ') {
            if !is_scope_token(word) || granted.len() >= MAX_SCOPES {
                return Err(ScopeError::Malformed);
            }
            if !server.scopes.iter().any(|s| s == word) {
                return Err(ScopeError::Unknown(word.to_owned()));
            }
            if !granted.iter().any(|g| g == word) {
                granted.push(word.to_owned());
            }
        }
        Ok(Self(granted))
    }

    /// Drops the others.
    pub fn keep(&mut self, mut wanted: impl FnMut(&str) -> bool) {
        self.0.retain(|word| wanted(word));
    }

    /// The server's scopes that both texts name: whatever else is in them is left out.
    #[must_use]
    pub fn common(server: &Server, one: &str, other: &str) -> Self {
        let named = |text: &str, scope: &str| text.split(' ').any(|word| word == scope);
        let both = |scope: &&String| named(one, scope) && named(other, scope);
        Self(server.scopes.iter().filter(both).cloned().collect())
    }

    /// What is left of a token's scopes for this server: those that are asked for, or all where none are, and that the
    /// server has. Never one that the token does not have.
    ///
    /// # Errors
    /// When the text is malformed.
    pub fn narrowed(
        held: &[String],
        requested: Option<&str>,
        server: &Server,
    ) -> Result<Self, ScopeError> {
        let requested: Option<Vec<&str>> = requested.map(|r| r.split(' ').collect());
        let malformed = |words: &Vec<&str>| {
            words.len() > MAX_SCOPES || !words.iter().all(|word| is_scope_token(word))
        };
        if requested.as_ref().is_some_and(malformed) {
            return Err(ScopeError::Malformed);
        }
        let mut kept: Vec<String> = Vec::new();
        for word in held.iter().take(MAX_SCOPES) {
            let wanted = requested
                .as_ref()
                .is_none_or(|r| r.contains(&word.as_str()));
            if wanted && server.scopes.contains(word) && !kept.contains(word) {
                kept.push(word.clone());
            }
        }
        Ok(Self(kept))
    }

    /// The scopes one by one.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

/// `1*( %x21 / %x23-5B / %x5D-7E )`.
pub fn is_scope_token(word: &str) -> bool {
    (1..=128).contains(&word.len())
        && word
            .bytes()
            .all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{registry::Id, secret::SecretHash};

    fn server(scopes: &[&str]) -> Server {
        Server {
            scopes: scopes.iter().map(|s| (*s).to_owned()).collect(),
            ..Server::new(
                Id::parse("ledger").unwrap(),
                "https://ledger.test/mcp".into(),
                "urn:ledger".into(),
                SecretHash::of("x"),
            )
        }
    }

    #[test]
    fn a_client_gets_what_it_asks_for_and_the_server_has() {
        let server = server(&["read", "write"]);
        let granted = |asked| Scope::grant(asked, &server).map(|s| s.to_string());
        assert_eq!(granted(Some("write")), Ok("write".into()));
        assert_eq!(granted(Some("read read")), Ok("read".into()));
        assert_eq!(granted(None), Ok("read write".into()));
        assert_eq!(
            granted(Some("admin")),
            Err(ScopeError::Unknown("admin".into()))
        );
    }

    #[test]
    fn what_two_agree_on_is_never_more_than_the_server_has() {
        let server = server(&["read", "write"]);
        let common = |one, other| Scope::common(&server, one, other).to_string();
        assert_eq!(common("write admin read", "admin read"), "read");
        assert_eq!(common("", "read"), "");
    }

    #[test]
    fn what_is_no_scope_is_refused() {
        let server = server(&["read"]);
        for bad in [" read", "read  read", "re\"ad", "réad", "a\\b", "read\n"] {
            assert_eq!(
                Scope::grant(Some(bad), &server),
                Err(ScopeError::Malformed),
                "{bad}"
            );
        }
    }
}
