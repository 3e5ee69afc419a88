//! TLS to others that is not HTTP: certificates are verified as [`super::outbound`] does, by the system's authorities and those of the
//! configuration.

use std::sync::Arc;

use rustls::{
    ClientConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use rustls_platform_verifier::Verifier;

/// Who this service is, to those who want a certificate.
#[derive(Clone)]
pub struct Identity {
    /// The certificate and those between it and its authority, in PEM.
    pub certificates: Vec<u8>,
    /// The key, in PEM.
    pub key: secrecy::SecretSlice<u8>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity(…)")
    }
}

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// Something is not PEM.
    #[error("{what} cannot be used: {problem}")]
    Pem {
        /// What it should be.
        what: &'static str,
        /// Why it is not.
        problem: rustls::pki_types::pem::Error,
    },
    /// The system's authorities cannot be read, or certificate and key do not fit together.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

/// How to speak TLS to others, which trusts the system's authorities and `authorities` (PEM).
///
/// # Errors
/// See [`TrustError`].
pub fn client(authorities: &[u8], identity: Option<&Identity>) -> Result<ClientConfig, TrustError> {
    use secrecy::ExposeSecret as _;

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = certificates("outbound.ca_file", authorities)?;
    let verifier = Verifier::new_with_extra_roots(roots, Arc::clone(&provider))?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let Some(identity) = identity else {
        return Ok(config.with_no_client_auth());
    };
    let key = PrivateKeyDer::from_pem_slice(identity.key.expose_secret());
    let key = key.map_err(|problem| TrustError::Pem {
        what: "the key",
        problem,
    })?;
    let chain = certificates("the certificate", &identity.certificates)?;
    Ok(config.with_client_auth_cert(chain, key)?)
}

fn certificates(
    what: &'static str,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|problem| TrustError::Pem { what, problem })
}
