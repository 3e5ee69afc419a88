//! An identity provider that says whatever a test wants it to, true or not.

use std::sync::{Arc, Mutex};

use axum::{
    Json, Router,
    extract::State,
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use jwt_simple::prelude::Ed25519KeyPair;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use url::Url;

use crate::{
    browser::{Answer, Browser},
    issuer::Issuer,
};

pub(crate) const CLIENT_ID: &str = "writ";
pub(crate) const CLIENT_SECRET: &str = "the client secret";

#[derive(Default)]
struct Says {
    more_metadata: Value,
    keys: Vec<Value>,
    id_token: String,
    userinfo: Value,
    forms: Vec<String>,
}

pub(crate) struct Idp {
    pub(crate) url: String,
    key: Mutex<(String, Ed25519KeyPair)>,
    says: Arc<Mutex<Says>>,
    server: JoinHandle<()>,
}

impl Idp {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let says = Arc::new(Mutex::new(Says {
            more_metadata: json!({}),
            userinfo: json!({}),
            ..Says::default()
        }));
        let shared = (url.clone(), Arc::clone(&says));
        let routes = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/jwks", get(jwks))
            .route("/token", post(token))
            .route("/me", get(userinfo))
            .with_state(shared);
        let server = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        let idp = Self {
            url,
            key: Mutex::new(("k0".to_owned(), Ed25519KeyPair::generate())),
            says,
            server,
        };
        idp.rotate("k1");
        idp
    }

    /// The configuration that names it.
    pub(crate) fn toml(&self, id: &str, more: &str) -> String {
        format!(
            "[[federation.provider]]\nid = {id:?}\nname = \"The {id}\"\nissuer = {:?}\nclient_id = {CLIENT_ID:?}\n\
             client_secret_env = \"IDP_SECRET\"\n{more}\n",
            self.url
        )
    }

    /// Stops answering.
    pub(crate) fn go_down(&self) {
        self.server.abort();
    }

    /// Signs with a new key from now on, and publishes it alone.
    pub(crate) fn rotate(&self, kid: &str) {
        let pair = Ed25519KeyPair::generate();
        let mut jwk: Value = serde_json::from_str(&pair.public_key().to_jwk()).unwrap();
        jwk["kid"] = json!(kid);
        self.says.lock().unwrap().keys = vec![jwk];
        *self.key.lock().unwrap() = (kid.to_owned(), pair);
    }

    /// Says more in its discovery document.
    pub(crate) fn announce(&self, more: Value) {
        self.says.lock().unwrap().more_metadata = more;
    }

    /// What it says at its userinfo endpoint.
    pub(crate) fn tell(&self, userinfo: Value) {
        self.says.lock().unwrap().userinfo = userinfo;
    }

    /// The forms that were sent to its token endpoint.
    pub(crate) fn forms(&self) -> Vec<String> {
        self.says.lock().unwrap().forms.clone()
    }

    /// Answers the next codes with this ID token.
    pub(crate) fn give(&self, id_token: &str) {
        self.says.lock().unwrap().id_token = id_token.to_owned();
    }

    /// Signs claims with its key.
    pub(crate) fn sign(&self, typ: &str, claims: &Value) -> String {
        let key = self.key.lock().unwrap();
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(key.0.clone());
        header.typ = Some(typ.to_owned());
        let pem = key.1.to_pem();
        jsonwebtoken::encode(
            &header,
            claims,
            &EncodingKey::from_ed_pem(pem.as_bytes()).unwrap(),
        )
        .unwrap()
    }

    /// The claims of an ID token for `subject`, with changes.
    pub(crate) fn claims(
        &self,
        issuer: &Issuer,
        nonce: &str,
        subject: &str,
        changes: &Value,
    ) -> Value {
        let now = issuer.now();
        let mut claims = json!({
            "iss": self.url, "sub": subject, "aud": CLIENT_ID, "iat": now, "exp": now + 300, "nonce": nonce,
            "preferred_username": subject, "name": "Somebody", "email": format!("{subject}@corp.example"),
            "email_verified": true, "groups": ["staff"],
        });
        merge(&mut claims, changes);
        claims
    }

    /// Goes the whole way as `subject`, and returns what the callback answers.
    pub(crate) async fn sign_in(
        &self,
        issuer: &Issuer,
        (browser, provider, query): (&Browser, &str, &str),
        subject: &str,
        changes: &Value,
    ) -> Answer {
        let out = set_out(issuer, browser, provider, query).await;
        let claims = self.claims(issuer, &param(&out, "nonce"), subject, changes);
        self.give(&self.sign("JWT", &claims));
        come_back(
            issuer,
            browser,
            provider,
            &[("state", &param(&out, "state")), ("code", "c")],
        )
        .await
    }
}

/// Changes members; null removes one.
pub(crate) fn merge(claims: &mut Value, changes: &Value) {
    let claims = claims.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => claims.remove(name),
            value => claims.insert(name.clone(), value.clone()),
        };
    }
}

/// A token that nobody signed.
pub(crate) fn unsigned(typ: &str, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!(
        "{}.{}.",
        part(&json!({"alg": "none", "typ": typ})),
        part(claims)
    )
}

/// A token signed with the client's secret.
pub(crate) fn with_secret(claims: &Value) -> String {
    let key = EncodingKey::from_secret(CLIENT_SECRET.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key).unwrap()
}

/// Where the browser is sent to sign in at a provider.
pub(crate) async fn set_out(
    issuer: &Issuer,
    browser: &Browser,
    provider: &str,
    query: &str,
) -> Url {
    let answer = browser
        .go(&format!("{}/oauth/sign-in/{provider}?{query}", issuer.url))
        .await;
    assert_eq!(answer.status, 303, "{}", answer.html);
    answer.location.unwrap()
}

/// The browser is sent back.
pub(crate) async fn come_back(
    issuer: &Issuer,
    browser: &Browser,
    provider: &str,
    with: &[(&str, &str)],
) -> Answer {
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(with)
        .finish();
    browser
        .go(&format!("{}/oauth/callback/{provider}?{query}", issuer.url))
        .await
}

pub(crate) fn param(url: &Url, name: &str) -> String {
    let found = url.query_pairs().find(|(n, _)| n == name);
    found
        .unwrap_or_else(|| panic!("{url} has no {name}"))
        .1
        .into_owned()
}

type Shared = (String, Arc<Mutex<Says>>);

async fn discovery(State((url, says)): State<Shared>) -> Json<Value> {
    let mut document = json!({
        "issuer": url,
        "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"),
        "userinfo_endpoint": format!("{url}/me"),
        "jwks_uri": format!("{url}/jwks"),
        "end_session_endpoint": format!("{url}/end"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["EdDSA", "HS256", "none"],
    });
    merge(&mut document, &says.lock().unwrap().more_metadata);
    Json(document)
}

async fn jwks(State((_, says)): State<Shared>) -> Json<Value> {
    Json(json!({ "keys": says.lock().unwrap().keys }))
}

async fn token(State((_, says)): State<Shared>, form: String) -> Json<Value> {
    let mut says = says.lock().unwrap();
    says.forms.push(form);
    Json(json!({
        "access_token": "an access token", "token_type": "Bearer", "expires_in": 60, "id_token": says.id_token,
    }))
}

async fn userinfo(State((_, says)): State<Shared>) -> Json<Value> {
    Json(says.lock().unwrap().userinfo.clone())
}
