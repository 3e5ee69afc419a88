//! What an application says about itself, hosted as a Client ID Metadata Document: over TLS on loopback, with a
//! certificate authority of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result};
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Where the document is.
const PATH: &str = "/client.json";

/// A running web server with one document; stopped when dropped.
#[derive(Debug)]
pub struct Documents {
    address: SocketAddr,
    authority: String,
    serving: JoinHandle<()>,
}

impl Documents {
    /// Hosts the document of a public client with this name and redirect URI.
    pub async fn host(client_name: &str, redirect_uri: &str) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (acceptor, authority) = tls()?;
        let document = json!({
            "client_id": url(address),
            "client_name": client_name,
            "redirect_uris": [redirect_uri],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
            "application_type": "native",
        });
        let router = Router::new()
            .route(PATH, get(serve))
            .with_state(Arc::new(document));
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(acceptor.clone(), stream, router.clone()));
            }
        });
        Ok(Self {
            address,
            authority,
            serving,
        })
    }

    /// The document's URL, which is the client's `client_id`.
    pub fn url(&self) -> String {
        url(self.address)
    }

    /// The certificate authority to trust, in PEM.
    pub fn authority(&self) -> &str {
        &self.authority
    }
}

impl Drop for Documents {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn url(address: SocketAddr) -> String {
    format!("https://{address}{PATH}")
}

async fn serve(State(document): State<Arc<Value>>) -> Json<Value> {
    Json(document.as_ref().clone())
}

/// A connection that ends early is the caller's to notice.
async fn answer(acceptor: TlsAcceptor, stream: TcpStream, router: Router) {
    if let Ok(stream) = acceptor.accept(stream).await {
        let _ = Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
            .await;
    }
}

/// TLS with a fresh certificate for loopback, and the PEM of the authority that signed it.
fn tls() -> Result<(TlsAcceptor, String)> {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec![Ipv4Addr::LOCALHOST.to_string()])?
        .signed_by(&key, &authority)?;
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from(certificate)],
            PrivateKeyDer::try_from(key.serialize_der())
                .map_err(|problem| anyhow::anyhow!("{problem}"))?,
        )
        .context("the certificate is not one")?;
    Ok((TlsAcceptor::from(Arc::new(config)), authority.pem()))
}
