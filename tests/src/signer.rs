//! Tokens signed by hand: good ones by the thousand for the benchmark, and ones no issuer would make.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use jwt_simple::prelude::*;
use serde_json::{Value, json};

/// The `typ` of access tokens (RFC 9068 section 2.1).
pub const ACCESS_TOKEN: &str = "at+jwt";

/// An Ed25519 key of an issuer.
#[derive(Clone, Debug)]
pub struct Signer(Ed25519KeyPair);

impl Signer {
    /// A key that nobody knows yet.
    pub fn generate() -> Self {
        Self::new(Ed25519KeyPair::generate())
    }

    /// Gives a token service that has not started yet this key to sign with: it takes key files over as those of
    /// an earlier version.
    pub(crate) fn write_to(&self, data_dir: &Path) -> Result<()> {
        let directory = data_dir.join("keys");
        DirBuilder::new().mode(0o700).create(&directory)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(directory.join("eddsa.pem"))?;
        Ok(file.write_all(self.0.to_pem().as_bytes())?)
    }

    fn new(key: Ed25519KeyPair) -> Self {
        let kid = key.jwk_thumbprint();
        Self(key.with_key_id(&kid))
    }

    /// The same key under another `kid`.
    #[must_use]
    pub fn under_kid(self, kid: &str) -> Self {
        Self(self.0.with_key_id(kid))
    }

    /// The public key's bytes.
    pub fn public_bytes(&self) -> Vec<u8> {
        self.0.public_key().to_bytes()
    }

    /// The JWK set with the public key.
    pub fn jwks(&self) -> Result<Value> {
        let mut jwk: Value = serde_json::from_str(&self.0.public_key().to_jwk())?;
        if let Some(jwk) = jwk.as_object_mut() {
            jwk.insert("kid".to_owned(), json!(self.0.jwk_thumbprint()));
            jwk.insert("alg".to_owned(), json!("EdDSA"));
            jwk.insert("use".to_owned(), json!("sig"));
        }
        Ok(json!({ "keys": [jwk] }))
    }

    /// Signs any claims with any `typ`.
    pub fn sign(&self, typ: &str, claims: &Value) -> Result<String> {
        let header = HeaderOptions {
            signature_type: Some(typ.to_owned()),
            content_type: None,
        };
        self.0
            .sign_with_options(bare(claims), &header)
            .context("cannot sign the token")
    }
}

/// Signs claims with HMAC-SHA256 (RFC 7518 section 3.2): what an attacker does with a public key.
pub fn sign_hs256(secret: &[u8], kid: &str, claims: &Value) -> Result<String> {
    let header = HeaderOptions {
        signature_type: Some(ACCESS_TOKEN.to_owned()),
        content_type: None,
    };
    HS256Key::from_bytes(secret)
        .with_key_id(kid)
        .authenticate_with_options(bare(claims), &header)
        .context("cannot sign the token")
}

/// The claims as they are: the library adds none of its own.
fn bare(claims: &Value) -> JWTClaims<&Value> {
    JWTClaims {
        issued_at: None,
        expires_at: None,
        invalid_before: None,
        issuer: None,
        subject: None,
        audiences: None,
        jwt_id: None,
        nonce: None,
        custom: claims,
    }
}

/// A caller's token as the service makes it for an agent without a user; tests change what they test.
pub fn workload_claims(
    issuer: &str,
    agent: &str,
    resource: &str,
    scope: &str,
    life_s: u64,
) -> Value {
    let now = unix_now();
    json!({
        "iss": issuer,
        "sub": agent,
        "aud": resource,
        "client_id": agent,
        "scope": scope,
        "iat": now,
        "exp": now + life_s,
        "jti": uuid::Uuid::now_v7().to_string(),
        "subject_type": "workload",
        "agent_authn": "secret",
    })
}

/// Seconds since the epoch.
pub fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
