//! A service on free ports with a server, some agents and a user, and a clock that the tests move.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use jiff::{SignedDuration, Timestamp};
use jwt_simple::prelude::Ed25519KeyPair;
use reqwest::Client;
use serde_json::{Value, json};
use tempfile::TempDir;
use writ_token_service::{
    audit::Record,
    clock::Clock,
    config::{Config, GatewayListen},
    oauth::password::PasswordHash,
    registry::{Agent, AuthMethod, Grant, Id, RedirectUri, Server, Status},
    secret::SecretHash,
    serve::Running,
    store::{StoreError, audit::Filter, registrations::Registered, users},
};

use crate::database;

pub(crate) const RESOURCE: &str = "https://ledger.test/mcp";
pub(crate) const OTHER_RESOURCE: &str = "https://wiki.test/mcp";
pub(crate) const USER: &str = "alice";
pub(crate) const PASSWORD: &str = "correct horse battery staple";
pub(crate) const SECRET: &str = "a secret: with + and % in it";
/// A public client with a loopback redirect URI.
pub(crate) const PUBLIC: &str = "assistant";
/// A client with a secret and a redirect URI on the web.
pub(crate) const CONFIDENTIAL: &str = "webapp";
/// A public client that may go on while its user is away.
pub(crate) const LASTING: &str = "notes";
/// A client with a key, and no user.
pub(crate) const ROBOT: &str = "robot";
pub(crate) const WEB_REDIRECT: &str = "https://webapp.test/cb?tenant=1";

/// The machine's clock, moved ahead at will.
#[derive(Debug, Default)]
pub(crate) struct MovedClock(AtomicI64);

impl Clock for MovedClock {
    fn now(&self) -> Timestamp {
        Timestamp::now() + SignedDuration::from_secs(self.0.load(Ordering::SeqCst))
    }
}

pub(crate) struct Issuer {
    pub(crate) running: Running,
    pub(crate) url: String,
    pub(crate) key: Ed25519KeyPair,
    clock: Arc<MovedClock>,
    _data: TempDir,
}

impl Issuer {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts with more settings, as environment variables.
    pub(crate) async fn start_with(settings: &[(&str, &str)]) -> Self {
        Self::start_from("", settings).await
    }

    /// Starts with a configuration file, and more settings as environment variables.
    pub(crate) async fn start_from(toml: &str, settings: &[(&str, &str)]) -> Self {
        let data = tempfile::tempdir().unwrap();
        let file = data.path().join("writ.toml");
        std::fs::write(&file, toml).unwrap();
        let directory = data.path().join("data").display().to_string();
        let mut environment = BTreeMap::from([
            ("WRIT_DATA_DIR", directory.as_str()),
            ("WRIT_PUBLIC__LISTEN", "127.0.0.1:0"),
            ("WRIT_GATEWAY__LISTEN", "127.0.0.1:0"),
        ]);
        let url = database::url_of(Path::new(&directory));
        environment.extend(url.as_ref().map(|url| ("WRIT_STORE_URL", url.as_str())));
        environment.extend(settings.iter().copied());
        let environment = environment
            .into_iter()
            .map(|(k, v)| (k.to_owned(), v.to_owned()));
        let config = Config::load(Some(&file), environment).unwrap();
        let clock = Arc::new(MovedClock::default());
        let running = Running::start(config, Arc::clone(&clock) as Arc<dyn Clock>, None)
            .await
            .unwrap();
        let issuer = Self {
            url: format!("http://{}", running.public),
            running,
            key: Ed25519KeyPair::generate().with_key_id("k1"),
            clock,
            _data: data,
        };
        issuer.register().await;
        issuer
    }

    /// Another service on the same database, under the same issuer's name.
    pub(crate) async fn beside(&self) -> Running {
        let mine = &self.running.app.config;
        let issuer = ("WRIT_ISSUER".to_owned(), self.url.clone());
        let mut config = Config::load(None, [issuer]).unwrap();
        config.data_dir.clone_from(&mine.data_dir);
        config.store.clone_from(&mine.store);
        config.rate_limits = mine.rate_limits;
        config.trusted_proxies.clone_from(&mine.trusted_proxies);
        config.public.set_port(0);
        config.gateway = GatewayListen::Loopback("127.0.0.1:0".parse().unwrap());
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        Running::start(config, clock, None).await.unwrap()
    }

    async fn register(&self) {
        let store = &self.running.app.store;
        let now = Timestamp::now();
        for (id, resource, scopes) in [
            ("ledger", RESOURCE, vec!["accounts:read", "transfers:write"]),
            ("wiki", OTHER_RESOURCE, vec![]),
        ] {
            let server = Server {
                scopes: scopes.into_iter().map(str::to_owned).collect(),
                ..Server::new(
                    Id::parse(id).unwrap(),
                    resource.to_owned(),
                    format!("urn:{id}"),
                    SecretHash::of("server"),
                )
            };
            store.add_server(&server, now).await.unwrap();
        }
        let jwk: Value = serde_json::from_str(&self.key.public_key().to_jwk()).unwrap();
        for agent in [
            agent(
                PUBLIC,
                AuthMethod::None,
                &["http://127.0.0.1/callback", "http://localhost:3000/cb"],
            ),
            Agent {
                grants: vec![Grant::AuthorizationCode, Grant::RefreshToken],
                ..agent(LASTING, AuthMethod::None, &["http://127.0.0.1/callback"])
            },
            agent(CONFIDENTIAL, AuthMethod::Secret, &[WEB_REDIRECT]),
            Agent {
                jwks: Some(json!({ "keys": [jwk] })),
                ..agent(ROBOT, AuthMethod::Key, &[])
            },
        ] {
            store.add_agent(&agent, now).await.unwrap();
        }
        let hash = PasswordHash::new(PASSWORD).unwrap();
        let groups = BTreeSet::from(["finance".to_owned(), "staff".to_owned()]);
        let mut tx = store.write().await.unwrap();
        users::add(tx.conn(), &USER.parse().unwrap(), &hash, &groups, now)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }

    /// Registers one more agent.
    pub(crate) async fn add(&self, agent: &Agent) -> Result<(), StoreError> {
        let store = &self.running.app.store;
        store.add_agent(agent, self.clock.now()).await
    }

    /// Moves the service's clock ahead.
    pub(crate) fn pass(&self, seconds: i64) {
        self.clock.0.fetch_add(seconds, Ordering::SeqCst);
    }

    pub(crate) fn now(&self) -> i64 {
        self.clock.now().as_second()
    }

    pub(crate) async fn disable(&self, what: Registered, id: &str) {
        self.running
            .app
            .store
            .set_status(what, id, Status::Disabled, None, self.clock.now())
            .await
            .unwrap();
    }

    pub(crate) async fn disable_user(&self) {
        let mut tx = self.running.app.store.write().await.unwrap();
        users::set_active(tx.conn(), USER, false, self.clock.now())
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }

    /// The audit trail.
    pub(crate) async fn records(&self) -> Vec<Record> {
        let entries = self
            .running
            .app
            .store
            .newest_records(&Filter::default(), 1000)
            .await
            .unwrap();
        entries.into_iter().map(|e| e.record).collect()
    }

    /// Posts a form to the token endpoint: status and JSON.
    pub(crate) async fn token(&self, form: &[(&str, &str)]) -> (u16, Value) {
        self.token_with(None, form).await
    }

    pub(crate) async fn token_with(
        &self,
        basic: Option<(&str, &str)>,
        form: &[(&str, &str)],
    ) -> (u16, Value) {
        let mut request = Client::new()
            .post(format!("{}/oauth/token", self.url))
            .form(form);
        if let Some((id, secret)) = basic {
            request = request.basic_auth(encoded(id), Some(encoded(secret)));
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["cache-control"], "no-store");
        let status = response.status().as_u16();
        (status, response.json().await.unwrap())
    }

    /// A client assertion of [`ROBOT`], signed by a library that shares no code with the one that verifies it.
    pub(crate) fn assertion(&self, changes: &Value) -> String {
        let now = self.now();
        let mut claims = json!({
            "iss": ROBOT, "sub": ROBOT, "aud": self.url, "iat": now, "exp": now + 60,
            "jti": uuid::Uuid::now_v7().to_string(),
        });
        claims
            .as_object_mut()
            .unwrap()
            .extend(changes.as_object().unwrap().clone());
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::EdDSA);
        header.kid = Some("k1".to_owned());
        let key = jsonwebtoken::EncodingKey::from_ed_pem(self.key.to_pem().as_bytes()).unwrap();
        jsonwebtoken::encode(&header, &claims, &key).unwrap()
    }

    /// Verifies an access token with the published keys and an independent library.
    pub(crate) async fn claims(&self, token: &str) -> Value {
        let jwks: jsonwebtoken::jwk::JwkSet = reqwest::get(format!("{}/oauth/jwks", self.url))
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let header = jsonwebtoken::decode_header(token).unwrap();
        assert_eq!(header.typ.as_deref(), Some("at+jwt"));
        let jwk = jwks.find(header.kid.as_deref().unwrap()).unwrap();
        let mut validation = jsonwebtoken::Validation::new(header.alg);
        validation.set_issuer(&[&self.url]);
        validation.validate_aud = false;
        let key = jsonwebtoken::DecodingKey::from_jwk(jwk).unwrap();
        jsonwebtoken::decode(token, &key, &validation)
            .unwrap()
            .claims
    }
}

pub(crate) fn agent(id: &str, auth: AuthMethod, redirects: &[&str]) -> Agent {
    Agent {
        secret: (auth == AuthMethod::Secret).then(|| SecretHash::of(SECRET)),
        redirect_uris: redirects
            .iter()
            .map(|u| RedirectUri::parse(u).unwrap())
            .collect(),
        grants: match auth {
            AuthMethod::Key => vec![Grant::ClientCredentials],
            _ => vec![Grant::AuthorizationCode, Grant::ClientCredentials],
        },
        ..Agent::new(id.parse().unwrap(), format!("The <b>{id}</b>"), auth)
    }
}

/// RFC 6749 section 2.3.1: id and secret are form-urlencoded before Basic.
pub(crate) fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
