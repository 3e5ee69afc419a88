//! Getting a caller's token from the token service, as agents do: with their own credentials
//! ([`client_credentials`]) or for a user who signs in in a browser ([`SignIn`], [`Browser`]).

mod browser;
mod forms;
mod sign_in;

use anyhow::{Context, Result, bail};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jwt_simple::prelude::*;
use serde_json::{Value, json};

pub use browser::{Browser, Step};
pub use sign_in::SignIn;

/// How an agent proves who it is (RFC 6749 section 2.3).
#[derive(Clone, Debug)]
pub enum Client<'a> {
    /// `client_secret_basic`.
    Secret {
        /// `client_id`.
        id: &'a str,
        /// Its secret.
        secret: &'a str,
    },
    /// `private_key_jwt` (RFC 7523).
    Key {
        /// `client_id`.
        id: &'a str,
        /// Its key.
        key: &'a AgentKey,
    },
}

/// A key of an agent's own, made for one run.
#[derive(Clone, Debug)]
pub struct AgentKey(Ed25519KeyPair);

impl AgentKey {
    /// A new key.
    pub fn generate() -> Self {
        let mut key = Ed25519KeyPair::generate();
        let thumbprint = key.public_key().jwk_thumbprint();
        key = key.with_key_id(&thumbprint);
        Self(key)
    }

    /// The public half as a JWK set, for registration.
    pub fn jwks(&self) -> Result<Value> {
        let mut jwk: Value = serde_json::from_str(&self.0.public_key().to_jwk())?;
        if let Some(jwk) = jwk.as_object_mut() {
            jwk.insert(
                "kid".to_owned(),
                json!(self.0.public_key().jwk_thumbprint()),
            );
            jwk.insert("use".to_owned(), json!("sig"));
        }
        Ok(json!({ "keys": [jwk] }))
    }

    /// Both halves as a JWK, for an agent in another language.
    pub fn private_jwk(&self) -> Result<Value> {
        let mut jwk = self
            .jwks()?
            .pointer("/keys/0")
            .cloned()
            .context("the key has no public half")?;
        // jwt-simple keeps the seed before the public key.
        let bytes = self.0.to_bytes();
        let seed = bytes.first_chunk::<32>().context("the key is too short")?;
        jwk["d"] = json!(BASE64_URL_SAFE_NO_PAD.encode(seed));
        Ok(jwk)
    }

    /// A client assertion for this authorization server.
    pub fn assertion(&self, client_id: &str, audience: &str) -> Result<String> {
        let claims = Claims::create(Duration::from_secs(60))
            .with_issuer(client_id)
            .with_subject(client_id)
            .with_audience(audience)
            .with_jwt_id(uuid::Uuid::now_v7());
        self.0
            .sign(claims)
            .context("cannot sign the client assertion")
    }
}

/// Asks for a token for `resource` in the agent's own name (RFC 6749 section 4.4, RFC 8707).
pub async fn client_credentials(
    issuer: &str,
    client: &Client<'_>,
    resource: &str,
    scope: &str,
) -> Result<String> {
    let mut form = vec![
        ("grant_type", "client_credentials".to_owned()),
        ("resource", resource.to_owned()),
    ];
    if !scope.is_empty() {
        form.push(("scope", scope.to_owned()));
    }
    token_request(issuer, Some(client), form).await
}

/// One request to the token endpoint; answers the access token.
async fn token_request(
    issuer: &str,
    client: Option<&Client<'_>>,
    mut form: Vec<(&'static str, String)>,
) -> Result<String> {
    let mut request = reqwest::Client::new().post(format!("{issuer}/oauth/token"));
    match client {
        Some(Client::Secret { id, secret }) => request = request.basic_auth(id, Some(secret)),
        Some(Client::Key { id, key }) => {
            form.push((
                "client_assertion_type",
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer".to_owned(),
            ));
            form.push(("client_assertion", key.assertion(id, issuer)?));
        }
        None => {}
    }
    let response = request.form(&form).send().await?;
    let status = response.status();
    let text = response.text().await?;
    let answer: Value = serde_json::from_str(&text).unwrap_or_default();
    match answer.get("access_token").and_then(Value::as_str) {
        Some(token) if status.is_success() => Ok(token.to_owned()),
        _ => bail!("the token endpoint answered {status}: {text}"),
    }
}
