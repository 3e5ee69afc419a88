//! `[registration]`: who may register a client without an administrator.

use serde::Deserialize;
use url::Url;

use super::{ConfigError, raw::Source};

/// Who may register a client without an administrator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registration {
    /// Whether clients may register themselves without an initial access token (RFC 7591 section 3).
    pub open: bool,
    /// Where Client ID Metadata Documents may lie; none where they are not accepted.
    pub client_documents: Option<Domains>,
}

/// Hosts, by name or by what they lie below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domains(Vec<Domain>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Domain {
    /// This host.
    Host(String),
    /// Every host below, with the dot before it.
    Below(String),
}

impl Domains {
    /// Whether the URL's host is one of them.
    #[must_use]
    pub fn contain(&self, url: &Url) -> bool {
        url.host_str().is_some_and(|host| {
            self.0.iter().any(|domain| match domain {
                Domain::Host(name) => name == host,
                Domain::Below(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
            })
        })
    }
}

impl Domain {
    /// Reads `example.com` or `*.example.com`.
    fn parse(text: &str) -> Option<Self> {
        let (below, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        // As a URL parser would write it, so that it can be compared with one's host.
        let url = Url::parse(&format!("https://{name}/")).ok()?;
        let plain = url.host_str() == Some(name) && url.port().is_none() && !name.contains('*');
        plain.then(|| {
            if below {
                Self::Below(format!(".{name}"))
            } else {
                Self::Host(name.to_owned())
            }
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawRegistration {
    open: bool,
    client_documents: RawClientDocuments,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawClientDocuments {
    enabled: bool,
    domains: Vec<String>,
}

pub(super) fn check(source: &Source) -> Result<Registration, ConfigError> {
    let raw = &source.values.registration;
    let documents = &raw.client_documents;
    let mut domains = Vec::with_capacity(documents.domains.len());
    for (at, given) in documents.domains.iter().enumerate() {
        let field = format!("registration.client_documents.domains[{at}]");
        let problem =
            "must be a host such as example.com, or *.example.com for every host below it";
        domains.push(Domain::parse(given).ok_or_else(|| source.wrong(&field, given, problem))?);
    }
    if documents.enabled && domains.is_empty() {
        let problem = "must name the hosts whose documents are accepted, since `enabled` is true";
        return Err(source.wrong("registration.client_documents.domains", "", problem));
    }
    Ok(Registration {
        open: raw.open,
        client_documents: documents.enabled.then_some(Domains(domains)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contain(domains: &[&str], url: &str) -> bool {
        let domains = domains.iter().map(|d| Domain::parse(d).unwrap()).collect();
        Domains(domains).contain(&Url::parse(url).unwrap())
    }

    #[test]
    fn a_domain_is_a_host_or_what_lies_below_one() {
        let domains = ["app.test", "*.corp.test"];
        assert!(contain(&domains, "https://app.test/client.json"));
        assert!(contain(&domains, "https://app.test:8443/client.json"));
        assert!(contain(&domains, "https://a.b.corp.test/client.json"));
        for elsewhere in [
            "https://evil.app.test/c",
            "https://app.test.evil.test/c",
            "https://evilapp.test/c",
            "https://corp.test/c",
            "https://evilcorp.test/c",
        ] {
            assert!(!contain(&domains, elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn a_pattern_that_would_mean_something_else_is_refused() {
        for bad in [
            "",
            "*",
            "*.",
            "a.*.test",
            "app.test:8443",
            "https://app.test",
            "APP.test",
            "app.test/x",
            "u@app.test",
        ] {
            assert!(Domain::parse(bad).is_none(), "{bad}");
        }
    }
}
