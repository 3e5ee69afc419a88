//! The guard: what it adds to a call, one call at a time, with tokens that are each good once.
//!
//! At full load a request mostly waits for others; what a guard adds to a call shows when it has the worker to itself.
//! Its own tokens are signed here, as the token service would; where the service spends them, it has to have minted them, so
//! there a gateway stands before the guard.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use writ_tests::envoy::{Envoy, Options};
use writ_tests::guard::GUARD;
use writ_tests::scratch::Scratch;
use writ_tests::signer::{ACCESS_TOKEN, Signer, unix_now};
use writ_tests::wait::{PATIENCE, until};

use crate::load::{self, Callers};
use crate::noise::Spread;
use crate::plan::Plan;
use crate::rows::{Filters, yaml};
use crate::service::{AUDIENCE, Bench, SERVER, TOOLS};
use crate::setup::Setup;

/// Tokens that a guard with a memory of its own remembers: more than any run has.
const ENTRIES: u64 = 1 << 20;
/// Longer than any run.
const TOKEN_LIFE_S: u64 = 4 * 60 * 60;
/// Requests of a round, out of those of the other rows: these go one after the other.
const ONE_BY_ONE: u64 = 8;

/// Times in microseconds, medians of the rounds' medians.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Guards {
    /// Nothing but Envoy.
    pub plain_p50_us: Spread,
    /// A guard with its own memory, which checks the signature (EdDSA).
    pub local_p50_us: Spread,
    /// The same behind `jwt_authn`, which checks it.
    pub jwt_authn_p50_us: Spread,
    /// A gateway alone.
    pub gateway_p50_us: Spread,
    /// A gateway, and a guard with its own memory.
    pub gateway_and_local_p50_us: Spread,
    /// A gateway, and a guard that has the service spend each token.
    pub gateway_and_global_p50_us: Spread,
}

impl Guards {
    /// What a guard with a memory of its own adds to a call, in milliseconds.
    pub fn local_added_ms(&self) -> f64 {
        (self.local_p50_us.median - self.plain_p50_us.median) / 1e3
    }

    /// Names and values for people.
    pub fn lines(&self) -> Vec<(String, String)> {
        let added = |name: &str, with: Spread, without: Spread| {
            let value = format!(
                "{:.0} µs ({:.0} instead of {:.0})",
                with.median - without.median,
                with.median,
                without.median
            );
            (format!("p50 added by {name}"), value)
        };
        vec![
            added("a guard, local", self.local_p50_us, self.plain_p50_us),
            added(
                "a guard, local, behind jwt_authn",
                self.jwt_authn_p50_us,
                self.plain_p50_us,
            ),
            added(
                "verification in the guard instead of in jwt_authn",
                self.local_p50_us,
                self.jwt_authn_p50_us,
            ),
            added("a gateway", self.gateway_p50_us, self.plain_p50_us),
            added(
                "gateway and guard, local",
                self.gateway_and_local_p50_us,
                self.plain_p50_us,
            ),
            added(
                "gateway and guard, global",
                self.gateway_and_global_p50_us,
                self.plain_p50_us,
            ),
            added(
                "a guard, global, behind a gateway",
                self.gateway_and_global_p50_us,
                self.gateway_p50_us,
            ),
        ]
    }
}

/// A way to the backend, and who calls on it.
struct Way {
    address: SocketAddr,
    callers: Callers,
    sent: u64,
    p50_us: Vec<f64>,
    /// The Envoys on it, which end with it.
    _envoys: Vec<Envoy>,
}

impl Way {
    async fn send(&mut self, requests: u64) -> Result<f64> {
        let first = self.sent;
        self.sent += requests;
        let run = load::run(self.address, &self.callers, 1, first, requests).await?;
        Ok(run.percentile(50).into())
    }
}

/// Measures all ways, interleaved.
pub async fn measure(setup: &Setup, plan: &Plan) -> Result<Guards> {
    let requests = (plan.requests / ONE_BY_ONE).max(1);
    let warm_up = (plan.warm_up / ONE_BY_ONE).max(1);
    let total = warm_up + requests * u64::try_from(plan.rounds)?;
    let mut ways = Vec::new();
    for kind in Kind::ALL {
        let mut way = kind
            .way(setup, total)
            .await
            .with_context(|| format!("{kind:?}"))?;
        way.send(warm_up).await?;
        ways.push(way);
    }
    for _ in 0..plan.rounds {
        for way in &mut ways {
            let p50 = way.send(requests).await?;
            way.p50_us.push(p50);
        }
    }
    let mut spreads = ways
        .iter()
        .map(|way| Spread::of(way.p50_us.iter().copied()));
    let mut next = || spreads.next().unwrap_or_default();
    Ok(Guards {
        plain_p50_us: next(),
        local_p50_us: next(),
        jwt_authn_p50_us: next(),
        gateway_p50_us: next(),
        gateway_and_local_p50_us: next(),
        gateway_and_global_p50_us: next(),
    })
}

/// What is on the way, in the order of [`Guards`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    Local,
    JwtAuthn,
    Gateway,
    GatewayAndLocal,
    GatewayAndGlobal,
}

impl Kind {
    const ALL: [Self; 6] = [
        Self::Plain,
        Self::Local,
        Self::JwtAuthn,
        Self::Gateway,
        Self::GatewayAndLocal,
        Self::GatewayAndGlobal,
    ];

    async fn way(self, setup: &Setup, total: u64) -> Result<Way> {
        let service = &setup.service;
        let mut envoys = Vec::new();
        let mut backend = setup.backend();
        let guard = match self {
            Self::Plain | Self::Gateway => None,
            Self::Local | Self::GatewayAndLocal => Some(guard_mode("local", false)),
            Self::JwtAuthn => Some(guard_mode("local", true)),
            Self::GatewayAndGlobal => Some(guard_mode("global", false)),
        };
        if self == Self::Plain {
            let text = yaml(&Filters::Plain, backend, service.service.gateway_port())?;
            let envoy = start(setup.scratch(), text, "guard-plain", &service.guard_secret).await?;
            backend = envoy.listener();
            envoys.push(envoy);
        }
        if let Some(configuration) = &guard {
            let filters = Filters::Writ(setup.wasm(), configuration);
            let mut text = yaml(&filters, backend, service.service.gateway_port())?;
            if self == Self::JwtAuthn {
                text = text.replace(FILTER, &format!("{}{FILTER}", jwt_authn(service)?))?;
            }
            let name = format!("guard-{self:?}");
            let envoy = start(setup.scratch(), text, &name, &service.guard_secret).await?;
            until("the guard's first snapshot", PATIENCE, async || {
                envoy.log().contains("is in force").then_some(())
            })
            .await?;
            backend = envoy.listener();
            envoys.push(envoy);
        }
        if matches!(
            self,
            Self::Gateway | Self::GatewayAndLocal | Self::GatewayAndGlobal
        ) {
            let configuration = crate::filter::gateway_mode();
            let filters = Filters::Writ(setup.wasm(), &configuration);
            let text = yaml(&filters, backend, service.service.gateway_port())?;
            let name = format!("gateway-{self:?}");
            let envoy = start(setup.scratch(), text, &name, &service.gateway_secret).await?;
            let callers = service.callers.clone();
            until("a good answer through the gateway", PATIENCE, async || {
                let allowed = load::is_allowed(envoy.listener(), &callers, &callers.tool(0)).await;
                allowed.is_ok_and(|allowed| allowed).then_some(())
            })
            .await?;
            backend = envoy.listener();
            envoys.push(envoy);
        }
        let callers = match self {
            Self::Local | Self::JwtAuthn => minted(service, total).await?,
            _ => service.callers.clone(),
        };
        Ok(Way {
            address: backend,
            callers,
            // The gateway has seen the first message.
            sent: u64::from(!matches!(self, Self::Local | Self::JwtAuthn)),
            p50_us: Vec::new(),
            _envoys: envoys,
        })
    }
}

async fn start(
    scratch: &Scratch,
    yaml: writ_tests::envoy::Yaml,
    name: &str,
    secret: &str,
) -> Result<Envoy> {
    let options = Options {
        name: name.to_owned(),
        workers: 1,
        env: vec![("WRIT_GATEWAY_SECRET".to_owned(), secret.to_owned())],
        port: None,
    };
    Envoy::start(scratch, yaml, options).await
}

/// The guard's configuration.
fn guard_mode(single_use: &str, behind_jwt_authn: bool) -> Value {
    let mut configuration = json!({
        "mode": "guard",
        "server": SERVER,
        "single_use": single_use,
        "token_service": {
            "cluster": "writ",
            "gateway_id": GUARD,
            "secret_env": "WRIT_GATEWAY_SECRET",
        },
        "clock_skew": "0s",
    });
    if let Some(members) = configuration.as_object_mut() {
        if single_use == "local" {
            members.insert("local".to_owned(), json!({ "entries": ENTRIES }));
        }
        if behind_jwt_authn {
            members.insert("signature".to_owned(), json!("jwt_authn"));
            let key = json!({ "payload_in_metadata": "writ" });
            members.insert("jwt_authn".to_owned(), key);
        }
    }
    configuration
}

/// Where the filter stands in the rows' YAML.
const FILTER: &str = "\n          - name: writ\n            typed_config";

fn jwt_authn(service: &Bench) -> Result<String> {
    Ok(format!(
        r#"
          - name: envoy.filters.http.jwt_authn
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
              providers:
                writ:
                  issuer: {issuer}
                  local_jwks: {{ inline_string: {jwks} }}
                  forward: true
                  payload_in_metadata: writ
              rules: [ {{ match: {{ prefix: / }}, requires: {{ provider_name: writ }} }} ]"#,
        issuer = service.service.issuer(),
        jwks = serde_json::to_string(&service.signer.jwks()?.to_string())?,
    ))
}

/// A minted token for each of the first `total` messages.
async fn minted(service: &Bench, total: u64) -> Result<Callers> {
    // A guard does not accept what may be older than itself.
    let started = unix_now();
    until("the next second", PATIENCE, async || {
        (unix_now() > started + 1).then_some(())
    })
    .await?;
    let (signer, issuer) = (service.signer.clone(), service.service.issuer());
    let unsigned = Callers {
        tokens: Arc::new(Vec::new()),
        tools: TOOLS,
    };
    let tokens = (0..total)
        .map(|n| token(&signer, &issuer, &unsigned.tool(n), n))
        .collect::<Result<_>>()?;
    Ok(Callers {
        tokens: Arc::new(tokens),
        tools: TOOLS,
    })
}

fn token(signer: &Signer, issuer: &str, tool: &str, n: u64) -> Result<String> {
    let now = unix_now();
    let body = load::message(tool, n);
    let digest = format!("sha-256=:{}:", BASE64_STANDARD.encode(Sha256::digest(body)));
    let claims = json!({
        "iss": issuer, "sub": format!("user-{n}"), "aud": AUDIENCE, "client_id": "assistant", "scope": "bench:call",
        "jti": uuid::Uuid::now_v7().to_string(), "txn": uuid::Uuid::now_v7().to_string(), "iat": now,
        "exp": now + TOKEN_LIFE_S, "act": { "sub": "edge", "act": { "sub": "assistant" } }, "derived_from": [],
        "authorization_details": [{ "type": "mcp_request", "server": SERVER, "method": "tools/call", "target": tool,
            "content_digest": digest }],
    });
    signer.sign(ACCESS_TOKEN, &claims)
}
