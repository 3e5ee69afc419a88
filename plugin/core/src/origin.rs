//! Where a request comes from and what it was sent to: web pages of other origins, and hosts that are not the server's, are
//! kept out (MCP transports, security: DNS rebinding).

use http::Uri;
use http::uri::Authority;

use crate::config::Hosts;
use crate::headers::Headers;
use crate::refuse::Refusal;

/// A web origin (RFC 6454): scheme, host and port, with the scheme's default port where none is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl Origin {
    /// Reads an `Origin` header: nothing but an origin.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let url: Uri = text.parse().ok()?;
        let bare = matches!(url.path(), "" | "/") && url.query().is_none() && !text.ends_with('/');
        Self::of(&url).filter(|_| bare)
    }

    /// The origin of a URL.
    pub(crate) fn of(url: &Uri) -> Option<Self> {
        let scheme = url.scheme_str()?.to_ascii_lowercase();
        let (host, port) = host_and_port(url.authority()?.as_str(), &scheme)?;
        Some(Self { scheme, host, port })
    }

    /// Whether a request to this `:authority` (or `Host`) is one to this origin.
    fn is_at(&self, authority: &str) -> bool {
        host_and_port(authority, &self.scheme)
            .is_some_and(|(host, port)| (host, port) == (self.host.clone(), self.port))
    }
}

fn host_and_port(authority: &str, scheme: &str) -> Option<(String, Option<u16>)> {
    let authority: Authority = authority.parse().ok()?;
    if authority.as_str().contains('@') {
        return None;
    }
    let default = match scheme {
        "https" => Some(443),
        "http" => Some(80),
        _ => None,
    };
    let host = authority.host().to_ascii_lowercase();
    Some((host, authority.port_u16().or(default)))
}

/// Checks that a request from a web page comes from the server's own origin, or from one that is allowed.
pub(crate) fn check_origin(
    headers: &Headers,
    own: &Origin,
    allowed: &[Origin],
) -> Result<(), Refusal> {
    let Some(text) = &headers.origin else {
        return Ok(());
    };
    match Origin::parse(text) {
        Some(origin) if origin == *own || allowed.contains(&origin) => Ok(()),
        _ => Err(Refusal::ForeignOrigin),
    }
}

/// Checks that a request was sent to the server's own host, or to one that is allowed.
pub(crate) fn check_host(headers: &Headers, own: &Origin, allowed: &Hosts) -> Result<(), Refusal> {
    let here = match allowed {
        Hosts::Any => true,
        Hosts::These(hosts) => {
            own.is_at(&headers.authority)
                || hosts.iter().any(|host| {
                    let there = host_and_port(host, &own.scheme);
                    there.is_some() && there == host_and_port(&headers.authority, &own.scheme)
                })
        }
    };
    if here {
        Ok(())
    } else {
        Err(Refusal::ForeignHost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &str, value: &str) -> Headers {
        Headers::read(vec![(name.to_owned(), value.as_bytes().to_vec())], &[]).unwrap()
    }

    fn own(resource: &str) -> Origin {
        Origin::of(&resource.parse().unwrap()).unwrap()
    }

    #[test]
    fn pages_of_other_origins_are_kept_out() {
        let allowed = [Origin::parse("https://app.example:8443").unwrap()];
        for (resource, origin, passes) in [
            ("https://mcp.example/a", "https://mcp.example", true),
            ("https://mcp.example/a", "https://MCP.example:443", true),
            ("https://mcp.example/a", "https://app.example:8443", true),
            ("https://mcp.example:443/a", "https://mcp.example", true),
            ("http://127.0.0.1:10000/mcp", "http://127.0.0.1:10000", true),
            ("https://mcp.example/a", "http://mcp.example", false),
            ("https://mcp.example/a", "https://mcp.example:8443", false),
            ("https://mcp.example/a", "https://app.example", false),
            ("https://mcp.example/a", "https://mcp.example.evil", false),
            ("https://mcp.example/a", "https://evil@mcp.example", false),
            ("https://mcp.example/a", "https://mcp.example/", false),
            ("https://mcp.example/a", "https://mcp.example/a", false),
            ("https://mcp.example/a", "null", false),
            ("https://mcp.example/a", "", false),
        ] {
            let passed = check_origin(&headers("origin", origin), &own(resource), &allowed);
            assert_eq!(passed.is_ok(), passes, "{origin}");
        }
        let none = headers("accept", "*/*");
        assert!(check_origin(&none, &own("https://mcp.example"), &[]).is_ok());
    }

    #[test]
    fn other_hosts_are_not_the_server() {
        let hosts = Hosts::These(vec![
            "gateway.internal:8080".to_owned(),
            "alias.example".to_owned(),
        ]);
        for (authority, passes) in [
            ("mcp.example", true),
            ("MCP.Example:443", true),
            ("gateway.internal:8080", true),
            ("alias.example:443", true),
            ("mcp.example:80", false),
            ("gateway.internal", false),
            ("evil.example", false),
            ("mcp.example@evil.example", false),
            ("a@mcp.example", false),
            ("", false),
        ] {
            let sent = headers(":authority", authority);
            let own = own("https://mcp.example/a");
            assert_eq!(
                check_host(&sent, &own, &hosts).is_ok(),
                passes,
                "{authority}"
            );
            assert!(check_host(&sent, &own, &Hosts::Any).is_ok());
        }
    }
}
