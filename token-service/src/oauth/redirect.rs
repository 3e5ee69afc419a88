//! Where an authorization response may go: a registered redirect URI, compared character by character.
//!
//! The one exception is RFC 8252 section 7.3: a native application listens on whatever loopback port is free, so the
//! port of a registered loopback URI is not compared.

use url::Url;

use crate::{config::is_loopback_host, registry::Agent};

/// A redirect URI that the client has registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectTarget {
    text: String,
    url: Url,
}

impl RedirectTarget {
    /// The target, if `presented` is one of the agent's.
    #[must_use]
    pub fn of(agent: &Agent, presented: &str) -> Option<Self> {
        let registered = agent
            .redirect_uris
            .iter()
            .any(|uri| matches(uri.as_str(), presented));
        let url = Url::parse(presented).ok()?;
        registered.then(|| Self {
            text: presented.to_owned(),
            url,
        })
    }

    /// The URI as the client presented it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The URI, parsed.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The host as people read it; for a private-use scheme, the scheme.
    #[must_use]
    pub fn host(&self) -> String {
        match (self.url.host_str(), self.url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.to_owned(),
            (None, _) => format!("{}:", self.url.scheme()),
        }
    }

    /// Whether the response stays on the user's own computer, where no host name vouches for the application.
    #[must_use]
    pub fn is_on_this_computer(&self) -> bool {
        !matches!(self.url.scheme(), "https") || is_loopback_host(&self.url)
    }

    /// The URI with response parameters added to its query.
    #[must_use]
    pub fn with(&self, parameters: &[(&str, &str)]) -> String {
        let added = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(parameters)
            .finish();
        let joint = if self.text.contains('?') { '&' } else { '?' };
        format!("{}{joint}{added}", self.text)
    }
}

fn matches(registered: &str, presented: &str) -> bool {
    registered == presented
        || match (without_port(registered), without_port(presented)) {
            (Some(registered), Some(presented)) => registered == presented,
            _ => false,
        }
}

/// Host and the rest of an http URI on a loopback host, without the port between them.
fn without_port(uri: &str) -> Option<(&str, &str)> {
    let rest = uri.strip_prefix("http://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at_checked(end)?;
    let host = match authority.rsplit_once(':') {
        Some((host, port))
            if !port.is_empty() && port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit()) =>
        {
            host
        }
        _ => authority,
    };
    matches!(host, "127.0.0.1" | "[::1]" | "localhost").then_some((host, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_port_of_a_loopback_uri_may_differ() {
        for (registered, presented) in [
            ("https://app.test/cb", "https://app.test/cb"),
            ("http://127.0.0.1/cb", "http://127.0.0.1:49152/cb"),
            ("http://127.0.0.1:3000/cb", "http://127.0.0.1:49152/cb"),
            ("http://[::1]/cb", "http://[::1]:49152/cb"),
            ("http://localhost:1/cb?x=1", "http://localhost:2/cb?x=1"),
            ("com.example.app:/cb", "com.example.app:/cb"),
        ] {
            assert!(matches(registered, presented), "{presented}");
        }
    }

    #[test]
    fn nothing_that_merely_looks_alike_is_taken() {
        for (registered, presented) in [
            ("https://app.test/cb", "https://app.test/cb/"),
            ("https://app.test/cb", "https://app.test/cb/../evil"),
            ("https://app.test/cb", "https://app.test/cb?x"),
            ("https://app.test/cb", "https://app.test/cbx"),
            ("https://app.test/cb", "https://app.test:8443/cb"),
            ("https://app.test/cb", "https://APP.test/cb"),
            ("https://app.test/cb", "https://app.test.evil.test/cb"),
            ("http://127.0.0.1/cb", "http://127.0.0.1:1@evil.test/cb"),
            ("http://127.0.0.1/cb", "http://127.0.0.1:1/cb/x"),
            ("http://127.0.0.1/cb", "http://localhost:1/cb"),
            ("http://127.0.0.1/cb", "https://127.0.0.1:1/cb"),
            ("http://127.0.0.1/cb", "http://127.0.0.1:x/cb"),
            ("http://localhost/cb", "http://localhost.evil.test/cb"),
            ("https://localhost/cb", "https://localhost:1/cb"),
        ] {
            assert!(!matches(registered, presented), "{presented}");
        }
    }

    #[test]
    fn response_parameters_join_the_uris_own() {
        let target = |text: &str| RedirectTarget {
            text: text.to_owned(),
            url: Url::parse(text).unwrap(),
        };
        assert_eq!(
            target("https://a.test/cb").with(&[("code", "a b"), ("iss", "https://i")]),
            "https://a.test/cb?code=a+b&iss=https%3A%2F%2Fi"
        );
        assert_eq!(
            target("https://a.test/cb?x=1").with(&[("code", "c")]),
            "https://a.test/cb?x=1&code=c"
        );
        assert_eq!(target("http://[::1]:5000/cb").host(), "[::1]:5000");
    }
}
