//! The certificate that the other end of a connection has proved (RFC 8705).

use std::{convert::Infallible, sync::Arc};

use axum::{extract::FromRequestParts, http::request::Parts};
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use webpki::EndEntityCert;

/// What identifies a client by its certificate, which an authority that is trusted here has signed.
#[derive(Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Of the whole certificate (RFC 8705 section 3.1, `x5t#S256`).
    pub sha256: [u8; 32],
    /// Its subject alternative names: URIs and DNS names (RFC 8705 section 2.1.2).
    pub names: Vec<String>,
}

impl ClientCertificate {
    /// Reads a certificate; `None` when it is none.
    #[must_use]
    pub fn read(der: &CertificateDer<'_>) -> Option<Self> {
        let certificate = EndEntityCert::try_from(der).ok()?;
        let names = certificate
            .valid_uri_names()
            .chain(certificate.valid_dns_names());
        Some(Self {
            sha256: Sha256::digest(der).into(),
            names: names.map(str::to_owned).collect(),
        })
    }
}

/// The client's certificate; none on a listener without TLS. An extractor: the listener puts it into every request.
#[derive(Clone, Debug, Default)]
pub struct PeerCertificate(pub Option<Arc<ClientCertificate>>);

impl<S: Sync> FromRequestParts<S> for PeerCertificate {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}
