//! Whether a request is for us at all: a web page that has its name point to this machine (DNS rebinding) is told apart by
//! the host it asked for, and any web page by its origin.

use std::net::SocketAddr;

use axum::http::{Uri, header, request::Parts, uri::Authority};

use super::Refusal;

/// What requests may ask for, and which web pages may.
#[derive(Clone, Debug)]
pub struct Hosts {
    hosts: Vec<String>,
    origins: Vec<String>,
}

/// What is wrong with a host or an origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostsError {
    /// Not as in a `Host` header.
    #[error("`{0}` is not a host as in the Host header, such as mcp.example.com or 127.0.0.1:8080")]
    Host(String),
    /// Not as in an `Origin` header.
    #[error("`{0}` is not an origin, such as https://app.example.com")]
    Origin(String),
}

impl Hosts {
    /// Those under which `listen` is reached from this machine, and these.
    ///
    /// # Errors
    /// When one of them can be none.
    pub fn new(
        listen: SocketAddr,
        hosts: &[String],
        origins: &[String],
    ) -> Result<Self, HostsError> {
        let mut all = vec![listen.to_string()];
        if listen.ip().is_loopback() {
            all.push(format!("localhost:{}", listen.port()));
        }
        for host in hosts {
            let read: Authority = host.parse().map_err(|_| HostsError::Host(host.clone()))?;
            if read.as_str().contains('@') {
                return Err(HostsError::Host(host.clone()));
            }
            all.push(host.to_ascii_lowercase());
        }
        for origin in origins {
            let read = url::Url::parse(origin).map(|url| url.origin().ascii_serialization());
            if read.as_deref() != Ok(origin) {
                return Err(HostsError::Origin(origin.clone()));
            }
        }
        Ok(Self {
            hosts: all,
            origins: origins.to_vec(),
        })
    }

    /// And that of the server's public URL: a gateway passes on what it was asked for.
    #[must_use]
    pub fn and_of(mut self, resource: &str) -> Self {
        let resource: Option<Uri> = resource.parse().ok();
        let host = resource.and_then(|uri| Some(uri.authority()?.as_str().to_ascii_lowercase()));
        self.hosts.extend(host);
        self
    }

    /// Refuses what was meant for others.
    pub(super) fn check(&self, parts: &Parts) -> Result<(), Refusal> {
        // HTTP/2 has the host in its request line.
        let host = match (parts.uri.authority(), super::one(&parts.headers, "host")?) {
            (Some(authority), None) => Some(authority.as_str()),
            (Some(authority), Some(host)) if authority.as_str() == host => Some(host),
            (None, host) => host,
            _ => None,
        };
        let host = host.map(str::to_ascii_lowercase).unwrap_or_default();
        if !self.hosts.contains(&host) {
            return Err(Refusal::Host);
        }
        match parts.headers.get(header::ORIGIN) {
            Some(origin)
                if !self
                    .origins
                    .iter()
                    .any(|o| o.as_bytes() == origin.as_bytes()) =>
            {
                Err(Refusal::Origin)
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn hosts() -> Hosts {
        let listen = "127.0.0.1:8080".parse().unwrap();
        Hosts::new(
            listen,
            &["MCP.example.com".to_owned()],
            &["https://app.example.com".to_owned()],
        )
        .unwrap()
        .and_of("https://Public.example/mcp")
    }

    fn check(host: &str, origin: Option<&str>) -> Result<(), Refusal> {
        let mut request = Request::builder().uri("/mcp").header("host", host);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        hosts().check(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn a_request_for_another_host_is_refused() {
        for host in [
            "127.0.0.1:8080",
            "localhost:8080",
            "mcp.example.com",
            "public.example",
        ] {
            assert!(check(host, None).is_ok(), "{host}");
        }
        for host in [
            "evil.example",
            "127.0.0.1",
            "127.0.0.1:8081",
            "",
            "mcp.example.com:8080",
        ] {
            assert!(matches!(check(host, None), Err(Refusal::Host)), "{host}");
        }
    }

    #[test]
    fn a_web_page_is_refused_unless_it_is_named() {
        assert!(check("127.0.0.1:8080", Some("https://app.example.com")).is_ok());
        for origin in ["https://evil.example", "null", "http://127.0.0.1:8080", ""] {
            assert!(
                matches!(check("127.0.0.1:8080", Some(origin)), Err(Refusal::Origin)),
                "{origin}"
            );
        }
    }

    #[test]
    fn what_could_never_be_sent_is_not_taken() {
        let listen = "127.0.0.1:8080".parse().unwrap();
        for host in ["https://a.example", "a@b", "", "a b"] {
            assert!(
                Hosts::new(listen, &[host.to_owned()], &[]).is_err(),
                "{host}"
            );
        }
        for origin in ["a.example", "https://a.example/", "https://a.example/path"] {
            assert!(
                Hosts::new(listen, &[], &[origin.to_owned()]).is_err(),
                "{origin}"
            );
        }
    }
}
