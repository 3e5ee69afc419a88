//! Requests that the service makes itself: to identity providers, and for documents that strangers name.
//!
//! A stranger's URL is a way into the network behind the service (server-side request forgery): it is fetched over https
//! from public addresses only, unless the configuration allows a network by name. The addresses are checked where the
//! connection takes them from, so that a name cannot mean one thing when it is checked and another when it is used.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use reqwest::{
    Certificate, Client, ClientBuilder,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};
use url::{Host, Url};

use super::network::{Network, is_public};

/// The longest a request may take, in all.
const REQUEST_TIME: Duration = Duration::from_secs(5);
/// The longest a connection may take.
const CONNECT_TIME: Duration = Duration::from_secs(3);

/// Makes requests. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Outbound {
    trusted: Client,
    guarded: Client,
    guard: Arc<Guard>,
}

/// Which addresses a stranger's URL may lead to.
#[derive(Debug)]
struct Guard {
    allowed: Vec<Network>,
}

/// A document that was fetched.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Its bytes, at most as many as were allowed.
    pub body: Vec<u8>,
    /// The `content-type`, in lower case and without parameters.
    pub content_type: String,
    /// For how long it may be kept (RFC 9111 section 4.2.1: `max-age`, zero for `no-store` and `no-cache`), where it says.
    pub max_age: Option<Duration>,
}

/// Why a document was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Nothing but https is fetched.
    #[error("{0} is not an https URL")]
    NotHttps(Url),
    /// It leads into a network that strangers have no business in.
    #[error(
        "{0} does not lead to a public address; allow its network in `outbound.allow` if it should be reached"
    )]
    Private(Url),
    /// It answered with something else than the document; redirects are not followed.
    #[error("{url} answered {status} instead of the document")]
    Status {
        /// What was fetched.
        url: Url,
        /// The answer.
        status: u16,
    },
    /// It is too big.
    #[error("{url} has more than {most} bytes")]
    TooBig {
        /// What was fetched.
        url: Url,
        /// The limit.
        most: usize,
    },
    /// It was not reached, or not in time.
    #[error("{url} could not be fetched: {problem}")]
    Failed {
        /// What was fetched.
        url: Url,
        /// Why.
        problem: String,
    },
}

/// Why no requests can be made.
#[derive(Debug, thiserror::Error)]
#[error("`outbound`: {0}")]
pub struct OutboundError(#[from] reqwest::Error);

impl Outbound {
    /// A client that trusts the system's certificate authorities and `authorities` (PEM), and fetches strangers'
    /// documents from public addresses and the networks in `allowed`.
    ///
    /// # Errors
    /// When `authorities` is not PEM, or the system's authorities cannot be read.
    pub fn new(authorities: &[u8], allowed: Vec<Network>) -> Result<Self, OutboundError> {
        // An error says that it is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let authorities = Certificate::from_pem_bundle(authorities)?;
        let client = || -> ClientBuilder {
            Client::builder()
                .tls_certs_merge(authorities.clone())
                .redirect(redirect::Policy::none())
                .connect_timeout(CONNECT_TIME)
                .timeout(REQUEST_TIME)
                .no_proxy()
                .user_agent(concat!("writ/", env!("CARGO_PKG_VERSION")))
        };
        let guard = Arc::new(Guard { allowed });
        Ok(Self {
            trusted: client().build()?,
            guarded: client()
                .https_only(true)
                .dns_resolver(Arc::clone(&guard))
                .build()?,
            guard,
        })
    }

    /// For requests to hosts that the configuration names. Follows no redirects and gives up after seconds; the size of
    /// an answer is the caller's to bound ([`read`]).
    #[must_use]
    pub fn trusted(&self) -> &Client {
        &self.trusted
    }

    /// Fetches a document of at most `most` bytes that a stranger named.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn fetch(&self, url: &Url, most: usize) -> Result<Fetched, FetchError> {
        if url.scheme() != "https" {
            return Err(FetchError::NotHttps(url.clone()));
        }
        // An address in the URL itself never reaches the resolver.
        let literal = match url.host() {
            Some(Host::Ipv4(ip)) => Some(IpAddr::from(ip)),
            Some(Host::Ipv6(ip)) => Some(IpAddr::from(ip)),
            _ => None,
        };
        if literal.is_some_and(|ip| !self.guard.allows(ip)) {
            return Err(FetchError::Private(url.clone()));
        }
        get(&self.guarded, url, most).await
    }

    /// Fetches a document of at most `most` bytes that the configuration names.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn fetch_trusted(&self, url: &Url, most: usize) -> Result<Fetched, FetchError> {
        get(&self.trusted, url, most).await
    }
}

async fn get(client: &Client, url: &Url, most: usize) -> Result<Fetched, FetchError> {
    let failed = |error: reqwest::Error| failure(url, &error);
    let response = client
        .get(url.clone())
        .header("accept", "application/json")
        .send()
        .await
        .map_err(failed)?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(FetchError::Status {
            url: url.clone(),
            status: response.status().as_u16(),
        });
    }
    let header = |name: &str| {
        response
            .headers()
            .get(name)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
            .to_ascii_lowercase()
    };
    let content_type = header("content-type")
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_owned();
    let max_age = max_age(&header("cache-control"));
    let body = read(response, most).await.map_err(|e| match e {
        ReadError::TooBig => FetchError::TooBig {
            url: url.clone(),
            most,
        },
        ReadError::Failed(error) => failed(error),
    })?;
    Ok(Fetched {
        body,
        content_type,
        max_age,
    })
}

/// Why an answer was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is longer than allowed.
    #[error("the answer is too big")]
    TooBig,
    /// The connection broke, or it took too long.
    #[error(transparent)]
    Failed(#[from] reqwest::Error),
}

/// Reads an answer of at most `most` bytes.
///
/// # Errors
/// See [`ReadError`].
pub async fn read(mut response: reqwest::Response, most: usize) -> Result<Vec<u8>, ReadError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len().saturating_add(chunk.len()) > most {
            return Err(ReadError::TooBig);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The first cause of a failure, which says more than the failure.
#[must_use]
pub fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(earlier) = cause.source() {
        cause = earlier;
    }
    cause.to_string()
}

fn failure(url: &Url, error: &reqwest::Error) -> FetchError {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    let mut problem = String::new();
    while let Some(error) = cause {
        if error.is::<Refused>() {
            return FetchError::Private(url.clone());
        }
        problem = error.to_string();
        cause = error.source();
    }
    FetchError::Failed {
        url: url.clone(),
        problem,
    }
}

/// `max-age` of a `cache-control` field, which comes in lower case.
fn max_age(cache_control: &str) -> Option<Duration> {
    let mut directives = cache_control.split(',').map(str::trim);
    if directives
        .clone()
        .any(|d| d == "no-store" || d == "no-cache")
    {
        return Some(Duration::ZERO);
    }
    let seconds = directives.find_map(|d| d.strip_prefix("max-age="))?;
    seconds
        .trim_matches('"')
        .parse()
        .ok()
        .map(Duration::from_secs)
}

/// No address of a name may be connected to.
#[derive(Debug, thiserror::Error)]
#[error("the name does not lead to a public address")]
struct Refused;

impl Guard {
    fn allows(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        is_public(ip) || self.allowed.iter().any(|network| network.contains(ip))
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let allowed = Self {
            allowed: self.allowed.clone(),
        };
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|at| allowed.allows(at.ip())).collect();
            if public.is_empty() {
                return Err(Refused.into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_says_how_long_it_may_be_kept() {
        let seconds = |text| max_age(text).map(|age| age.as_secs());
        assert_eq!(seconds("public, max-age=300"), Some(300));
        assert_eq!(seconds("no-store, max-age=300"), Some(0));
        assert_eq!(seconds(""), None);
        assert_eq!(seconds("max-age=x"), None);
    }

    #[tokio::test]
    async fn a_strangers_url_does_not_lead_into_the_network_behind_the_service() {
        let outbound = Outbound::new(b"", Vec::new()).unwrap();
        for inside in [
            "https://127.0.0.1/a",
            "https://localhost/a",
            "https://[::1]/a",
            "https://[::ffff:10.0.0.1]/a",
            "https://10.0.0.1/a",
            "https://169.254.169.254/latest/meta-data",
            "https://2130706433/a",
            "https://0x7f.1/a",
        ] {
            let refused = outbound.fetch(&Url::parse(inside).unwrap(), 1024).await;
            assert!(
                matches!(refused, Err(FetchError::Private(_))),
                "{inside}: {refused:?}"
            );
        }
        let plain = outbound
            .fetch(&Url::parse("http://192.0.2.1/a").unwrap(), 1024)
            .await;
        assert!(matches!(plain, Err(FetchError::NotHttps(_))));
    }
}
