//! What the ledger asks of the token service: its public keys, and whether a token is still unspent.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jwt_simple::prelude::*;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use super::verify::Refusal;

/// How long a key that nobody knows is not asked for again.
const KEYS_AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// What the ledger was given when it was registered at the token service.
#[derive(Clone, Debug)]
pub struct Registration {
    /// The issuer, exactly as in `iss`.
    pub issuer: String,
    /// This server's id in the registry.
    pub server_id: String,
    /// This server's own audience: the `aud` of tokens minted for it.
    pub audience: String,
    /// The secret for introspection.
    pub secret: String,
}

/// See the module.
#[derive(Debug)]
pub struct Issuer {
    registration: Registration,
    http: reqwest::Client,
    keys: Mutex<Keys>,
}

#[derive(Debug, Default)]
struct Keys {
    by_id: HashMap<String, Key>,
    fetched: Option<Instant>,
}

#[derive(Clone, Debug)]
enum Key {
    EdDsa(Ed25519PublicKey),
    Es256(ES256PublicKey),
    Rs256(Box<RS256PublicKey>),
}

impl Issuer {
    /// Nothing is asked yet.
    pub fn new(registration: Registration) -> Self {
        Self {
            registration,
            http: reqwest::Client::new(),
            keys: Mutex::default(),
        }
    }

    /// This server's registration.
    pub fn registration(&self) -> &Registration {
        &self.registration
    }

    /// Checks the signature, with the key that the token names, and all that `options` ask for.
    ///
    /// The key decides which algorithm is used; the token's `alg` only has to agree with it.
    pub async fn verify<C: Serialize + DeserializeOwned>(
        &self,
        token: &str,
        options: VerificationOptions,
    ) -> Result<JWTClaims<C>, Refusal> {
        let metadata = Token::decode_metadata(token).map_err(|_| Refusal::NotAToken)?;
        let id = metadata.key_id().ok_or(Refusal::NotAToken)?;
        let verified = match self.key(id).await? {
            Key::EdDsa(key) => key.verify_token(token, Some(options)),
            Key::Es256(key) => key.verify_token(token, Some(options)),
            Key::Rs256(key) => key.verify_token(token, Some(options)),
        };
        verified.map_err(|_| Refusal::NotOurs)
    }

    async fn key(&self, id: &str) -> Result<Key, Refusal> {
        let mut keys = self.keys.lock().await;
        let stale = keys
            .fetched
            .is_none_or(|at| at.elapsed() > KEYS_AT_MOST_EVERY);
        if stale && !keys.by_id.contains_key(id) {
            keys.by_id = self.fetch_keys().await.map_err(|_| Refusal::IssuerAway)?;
            keys.fetched = Some(Instant::now());
        }
        keys.by_id.get(id).cloned().ok_or(Refusal::NotOurs)
    }

    async fn fetch_keys(&self) -> reqwest::Result<HashMap<String, Key>> {
        #[derive(serde::Deserialize)]
        struct JwkSet {
            keys: Vec<serde_json::Value>,
        }
        let url = format!("{}/oauth/jwks", self.registration.issuer);
        let set: JwkSet = self
            .http
            .get(url)
            .send()
            .await?
            .error_for_status()?
            .json()
            .await?;
        // A key of a kind we do not know is nothing we would accept a token by.
        Ok(set
            .keys
            .iter()
            .filter_map(|jwk| {
                let id = jwk.get("kid")?.as_str()?.to_owned();
                let text = jwk.to_string();
                let key = match jwk.get("kty")?.as_str()? {
                    "OKP" => Key::EdDsa(Ed25519PublicKey::from_jwk(&text).ok()?),
                    "EC" => Key::Es256(ES256PublicKey::from_jwk(&text).ok()?),
                    "RSA" => Key::Rs256(Box::new(RS256PublicKey::from_jwk(&text).ok()?)),
                    _ => return None,
                };
                Some((id, key))
            })
            .collect())
    }

    /// Spends a token (RFC 7662 with Writ's `consume`): true at most once for each.
    ///
    /// Also how a credential that is no such token is reported: the service answers `false` and puts what kind
    /// of thing it was, never the thing itself, in the audit trail.
    pub async fn consume(&self, token: &str) -> Result<bool, Refusal> {
        #[derive(serde::Deserialize)]
        struct Introspection {
            active: bool,
        }
        let answer: Introspection = self
            .http
            .post(format!("{}/oauth/introspect", self.registration.issuer))
            .basic_auth(
                &self.registration.server_id,
                Some(&self.registration.secret),
            )
            .form(&[("token", token), ("consume", "true")])
            .send()
            .await
            .and_then(reqwest::Response::error_for_status)
            .map_err(|_| Refusal::IssuerAway)?
            .json()
            .await
            .map_err(|_| Refusal::IssuerAway)?;
        Ok(answer.active)
    }
}
