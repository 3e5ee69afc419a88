//! Where a server is: what registrations and requests are compared by.

use writ_policy::credential::Credential;

use crate::rules::absolute;

/// How much of a host is kept, in bytes (RFC 1035 section 2.3.4, and a port).
const MAX_HOST: usize = 261;

/// How much of a path is kept, in bytes.
const MAX_PATH: usize = 256;

/// Path segments from this length on that look random are taken for credentials, in bytes.
const RANDOM: usize = 20;

/// Stands for what is left out of a path.
const LEFT_OUT: &str = "*";

/// A host and a path, each in one spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// In lower case, with its port where that is not one of the usual ones.
    pub host: String,
    /// Without its query, and without a slash at its end.
    pub path: String,
}

impl Address {
    /// Where a request goes. Usual ports do not count: whoever adds TLS on the way has changed the scheme.
    #[must_use]
    pub fn new(authority: &str, path: &str) -> Self {
        let host = authority.rsplit('@').next().unwrap_or_default();
        let host = host.to_ascii_lowercase();
        let usual = [":80", ":443"];
        let bare = usual.iter().find_map(|port| host.strip_suffix(port));
        let host = bare.unwrap_or(&host);
        let path = path.split(['?', '#']).next().unwrap_or_default();
        Self {
            host: host.trim_end_matches('.').to_owned(),
            path: path.trim_end_matches('/').to_owned(),
        }
    }

    /// The address of a URL; none where it has no host.
    #[must_use]
    pub fn of_url(url: &str) -> Option<Self> {
        let url = absolute(url)?;
        Some(Self::new(url.authority()?.as_str(), url.path()))
    }

    /// The same as it may be put on record: hosted servers have their users' keys in paths.
    #[must_use]
    pub fn shown(&self) -> Self {
        let mut path = String::new();
        for segment in self.path.split('/').skip(1) {
            path.push('/');
            path.push_str(match is_secret(segment) {
                true => LEFT_OUT,
                false => segment,
            });
        }
        path.truncate(path.floor_char_boundary(MAX_PATH));
        let mut host = self.host.clone();
        host.truncate(host.floor_char_boundary(MAX_HOST));
        Self { host, path }
    }
}

/// Whether a path segment could be a credential: it begins like one, or is long and of letters and digits both.
fn is_secret(segment: &str) -> bool {
    let has = |of: fn(&u8) -> bool| segment.as_bytes().iter().any(of);
    let is_random =
        segment.len() >= RANDOM && has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic);
    is_random || segment.len() > 2 * RANDOM || Credential::by_prefix(segment) != Credential::Opaque
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_place_has_one_address() {
        let address = Address::of_url("https://MCP.example.com/v1/mcp/").unwrap();
        for (authority, path) in [
            ("mcp.example.com", "/v1/mcp"),
            ("mcp.example.com:443", "/v1/mcp/?key=1"),
            ("MCP.EXAMPLE.COM.:80", "/v1/mcp#x"),
            ("user:secret@mcp.example.com", "/v1/mcp"),
        ] {
            assert_eq!(Address::new(authority, path), address, "{authority}{path}");
        }
        for (authority, path) in [
            ("mcp.example.com:8443", "/v1/mcp"),
            ("mcp.example.com", "/v1/mcp/more"),
            ("mcp.example.com", "/V1/mcp"),
            ("example.com", "/v1/mcp"),
        ] {
            assert_ne!(Address::new(authority, path), address, "{authority}{path}");
        }
        assert_eq!(Address::of_url("urn:example:ledger"), None);
    }

    #[test]
    fn what_could_be_a_credential_is_not_shown() {
        for (path, shown) in [
            ("/mcp", "/mcp"),
            ("/api/s/NmQ5ZjEyMzQ1Njc4OTBhYmNkZWY/mcp", "/api/s/*/mcp"),
            ("/t/ghp_short/mcp", "/t/*/mcp"),
            ("/u/019aa0c0-6a3e-7c3e-9c1e-0a1b2c3d4e5f", "/u/*"),
            (
                "/customer-relationship-management",
                "/customer-relationship-management",
            ),
            ("", ""),
        ] {
            assert_eq!(Address::new("a.example", path).shown().path, shown);
        }
        let long = Address::new(&"h".repeat(1000), &"/\u{e4}".repeat(1000)).shown();
        assert!(long.host.len() <= MAX_HOST && long.path.len() <= MAX_PATH);
    }
}
