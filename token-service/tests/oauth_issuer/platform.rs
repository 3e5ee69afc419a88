//! Somebody else's keys: what a platform or an identity provider signs with, and the https server it publishes them at.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use jwt_simple::prelude::{ES256KeyPair, RS256KeyPair};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::{TlsAcceptor, rustls};

/// A key that signs as its owner likes, by a library that shares no code with the one that verifies.
pub(crate) struct Signer {
    pub(crate) algorithm: Algorithm,
    key: EncodingKey,
    pub(crate) public_pem: String,
    jwk: Value,
}

impl Signer {
    pub(crate) fn es256(kid: &str) -> Self {
        let pair = ES256KeyPair::generate().with_key_id(kid);
        Self {
            algorithm: Algorithm::ES256,
            key: EncodingKey::from_ec_pem(pair.to_pem().unwrap().as_bytes()).unwrap(),
            public_pem: pair.public_key().to_pem().unwrap(),
            jwk: serde_json::from_str(&pair.public_key().to_jwk()).unwrap(),
        }
    }

    pub(crate) fn rs256(kid: &str) -> Self {
        let pair = RS256KeyPair::generate(2048).unwrap().with_key_id(kid);
        Self {
            algorithm: Algorithm::RS256,
            key: EncodingKey::from_rsa_pem(pair.to_pem().unwrap().as_bytes()).unwrap(),
            public_pem: pair.public_key().to_pem().unwrap(),
            jwk: serde_json::from_str(&pair.public_key().to_jwk()).unwrap(),
        }
    }

    pub(crate) fn kid(&self) -> &str {
        self.jwk["kid"].as_str().unwrap()
    }

    /// The public key, for the purpose `of_use`.
    pub(crate) fn jwk(&self, of_use: &str) -> Value {
        let mut jwk = self.jwk.clone();
        jwk["use"] = json!(of_use);
        jwk
    }

    pub(crate) fn jwks(&self) -> Value {
        json!({"keys": [self.jwk("sig")]})
    }

    pub(crate) fn sign(&self, typ: Option<&str>, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = Some(self.kid().to_owned());
        header.typ = typ.map(str::to_owned);
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }

    /// The public key, which anybody knows, used as an HMAC secret (RFC 8725 section 2.1).
    pub(crate) fn confused(&self, typ: Option<&str>, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some(self.kid().to_owned());
        header.typ = typ.map(str::to_owned);
        let secret = EncodingKey::from_secret(self.public_pem.as_bytes());
        jsonwebtoken::encode(&header, claims, &secret).unwrap()
    }
}

/// The claims with some of them changed; those changed to null are left out.
pub(crate) fn changed(mut claims: Value, changes: &Value) -> Value {
    let members = claims.as_object_mut().unwrap();
    members.extend(changes.as_object().unwrap().clone());
    members.retain(|_, value| !value.is_null());
    claims
}

/// An HTTP answer; `headers` end with a line break each.
pub(crate) fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

/// An https server on loopback with a certificate that nobody else trusts.
pub(crate) struct Platform {
    pub(crate) url: String,
    pub(crate) authority_pem: String,
    /// Whole HTTP answers by path; one that is empty is never given.
    answers: Arc<Mutex<HashMap<String, String>>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Platform {
    pub(crate) async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let platform = Self {
            url: format!(
                "https://localhost:{}",
                listener.local_addr().unwrap().port()
            ),
            authority_pem: made.cert.pem(),
            answers: Arc::default(),
            requests: Arc::default(),
        };
        let (answers, requests) = (
            Arc::clone(&platform.answers),
            Arc::clone(&platform.requests),
        );
        tokio::spawn(async move {
            let mut unanswered = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let mut read = Vec::new();
                while !read.ends_with(b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(byte) => read.push(byte),
                        Err(_) => break,
                    }
                }
                let text = String::from_utf8(read).unwrap();
                let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
                let known = answers.lock().unwrap().get(&path).cloned();
                requests.lock().unwrap().push(path);
                let given = known.unwrap_or_else(|| answer("404 Not Found", "", ""));
                if given.is_empty() {
                    unanswered.push(stream);
                    continue;
                }
                let _ = stream.write_all(given.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        platform
    }

    pub(crate) fn publish(&self, path: &str, document: Value) {
        let json = "content-type: application/json\r\n";
        self.answer(path, answer("200 OK", json, &document.to_string()));
    }

    /// From now on this whole HTTP answer is given; none, if it is empty.
    pub(crate) fn answer(&self, path: &str, answer: String) {
        self.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// How often a document was asked for.
    pub(crate) fn asked(&self, path: &str) -> usize {
        let requests = self.requests.lock().unwrap();
        requests.iter().filter(|asked| *asked == path).count()
    }
}
