//! `[gateway]`: where gateways come in, and how they prove who they are there.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use serde::Deserialize;

use super::{ConfigError, duration, raw::Source};

/// The gateways' listener. What leaves the machine is TLS with certificates on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GatewayListen {
    /// TCP on a loopback address.
    Loopback(SocketAddr),
    /// A Unix socket, mode 0600.
    Unix(PathBuf),
    /// Mutual TLS (RFC 8705) on any address.
    Tls(SocketAddr, TlsFiles),
}

/// PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The service's certificate and those between it and its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authorities of gateways' certificates, or such certificates themselves where they are self-signed.
    pub client_authorities: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawGateway {
    pub(super) listen: Option<String>,
    snapshot_ttl: Option<String>,
    tls: Option<RawTls>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTls {
    cert_file: PathBuf,
    key_file: PathBuf,
    client_ca_file: PathBuf,
}

/// How long a gateway may go on without an answer.
pub(super) fn snapshot_ttl(source: &Source) -> Result<Duration, ConfigError> {
    let given = source.values.gateway.snapshot_ttl.as_deref();
    let given = given.unwrap_or("15m");
    duration::parse(given, &(30..=86_400))
        .map_err(|problem| source.wrong("gateway.snapshot_ttl", given, problem))
}

pub(super) fn check(source: &Source) -> Result<GatewayListen, ConfigError> {
    let raw = &source.values.gateway;
    let given = raw.listen.as_deref().unwrap_or("127.0.0.1:8182");
    let wrong = |problem| source.wrong("gateway.listen", given, problem);
    if let Some(path) = given.strip_prefix("unix:") {
        if raw.tls.is_some() {
            return Err(wrong(
                "a Unix socket has no TLS: leave gateway.tls out, or give an IP:PORT",
            ));
        }
        // What the kernel takes for a socket's path.
        let fits = (1..=100).contains(&path.len());
        return if fits {
            Ok(GatewayListen::Unix(PathBuf::from(path)))
        } else {
            Err(wrong("the socket's path must have 1 to 100 bytes"))
        };
    }
    let address: SocketAddr = given
        .parse()
        .map_err(|_| wrong("must be IP:PORT, or unix:/path/to/socket"))?;
    match &raw.tls {
        Some(tls) => Ok(GatewayListen::Tls(
            address,
            TlsFiles {
                certificate: tls.cert_file.clone(),
                key: tls.key_file.clone(),
                client_authorities: tls.client_ca_file.clone(),
            },
        )),
        None if address.ip().is_loopback() => Ok(GatewayListen::Loopback(address)),
        None => Err(wrong(
            "must be a loopback address or a Unix socket, as plain text is spoken there; other addresses need gateway.tls",
        )),
    }
}
