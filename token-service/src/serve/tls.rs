//! The gateways' listener where it is reached over a network: TLS with certificates on both sides (RFC 8705).

use std::{future::Future, io, path::Path, pin::Pin, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::listener::Accept;
use crate::{
    config::TlsFiles,
    http::{Peer, PeerCertificate, certificate::ClientCertificate},
};

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not there, or has something else in it.
    #[error("gateway.tls.{field}: {path} cannot be used: {problem}")]
    File {
        /// Which field names it.
        field: &'static str,
        /// Which file.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Certificate and key do not fit together.
    #[error("gateway.tls: the certificate and the key cannot be used together: {0}")]
    Pair(rustls::Error),
}

/// Certificates and trust, which may change while connections come in.
pub(super) type Current = Arc<ArcSwap<ServerConfig>>;

/// Reads the files.
pub(super) fn read(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let authorities = "client_ca_file";
    let mut roots = RootCertStore::empty();
    for root in certificates(authorities, &files.client_authorities)? {
        roots
            .add(root)
            .map_err(|e| wrong(authorities, &files.client_authorities, &e))?;
    }
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|e| wrong(authorities, &files.client_authorities, &e))?;
    let key =
        PrivateKeyDer::from_pem_file(&files.key).map_err(|e| wrong("key_file", &files.key, &e))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Pair)?
        .with_client_cert_verifier(clients)
        .with_single_cert(certificates("cert_file", &files.certificate)?, key)
        .map_err(TlsError::Pair)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(
    field: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| wrong(field, path, &e))?;
    match read.is_empty() {
        true => Err(wrong(field, path, &"there is no certificate in it")),
        false => Ok(read),
    }
}

fn wrong(field: &'static str, path: &Path, problem: &dyn std::fmt::Display) -> TlsError {
    TlsError::File {
        field,
        path: path.display().to_string(),
        problem: problem.to_string(),
    }
}

/// TCP, with TLS to come.
pub(super) struct TlsListener {
    pub(super) tcp: TcpListener,
    pub(super) current: Current,
}

impl Accept for TlsListener {
    type Stream = TlsStream<TcpStream>;
    type Connecting =
        Pin<Box<dyn Future<Output = io::Result<(Self::Stream, PeerCertificate)>> + Send>>;

    async fn accept(&self) -> io::Result<(Self::Connecting, Peer)> {
        let (stream, address) = self.tcp.accept().await?;
        stream.set_nodelay(true)?;
        let acceptor = TlsAcceptor::from(self.current.load_full());
        // A client that is slow to shake hands holds up nobody else.
        let connecting = Box::pin(async move {
            let stream = acceptor.accept(stream).await?;
            let certificates = stream.get_ref().1.peer_certificates();
            let proved = certificates
                .and_then(|chain| chain.first())
                .and_then(ClientCertificate::read)
                .ok_or_else(|| {
                    io::Error::other("the client has no certificate that can be read")
                })?;
            Ok((stream, PeerCertificate(Some(Arc::new(proved)))))
        });
        Ok((connecting, Peer(Some(address.ip()))))
    }
}
