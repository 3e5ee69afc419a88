//! A filter in gateway mode, from start to a good call, with this test in the token service's place.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use url::form_urlencoded;
use writ_core::snapshot::parts::{Contents, Document, answer};
use writ_core::snapshot::signed::SnapshotKey;
use writ_core::snapshot::{HEAD, Head};
use writ_policy::engine::{self, ENGINE};
use writ_policy::library;
use writ_policy::snapshot::{
    AGENTS, FORMAT, KEYS, POLICY, REVISION, SERVERS, STOPS, SealKey, bucket, bucket_name,
};
use writ_tests::signer::{ACCESS_TOKEN, Signer, workload_claims};

use super::vm::{Fate, Vm};
use super::wire::{self, Headers, headers};
use super::world::{Callout, Reply};

pub const SNAPSHOT: &str = "/gateway/v1/snapshot";
pub const TOKEN: &str = "/oauth/token";
pub const EVENTS: &str = "/gateway/v1/events";
pub const ISSUER: &str = "http://issuer.test";
pub const RESOURCE: &str = "http://gateway.test/mcp";
pub const AUDIENCE: &str = "urn:example:ledger";
pub const AGENT: &str = "batch";
pub const TOOL: &str = "getAccount";

/// What the token service signs its snapshots with.
pub fn snapshot_key() -> SnapshotKey {
    SnapshotKey::of(&[5; 32])
}

/// The configuration of the shipped YAML.
pub fn configuration() -> Value {
    json!({
        "mode": "gateway",
        "token_service": {
            "cluster": "writ", "gateway_id": "edge", "secret_env": "WRIT_GATEWAY_SECRET", "timeout": "1s",
        },
    })
}

/// A VM, the issuer's key, and a caller's token.
pub struct Gateway {
    pub vm: Vm,
    pub signer: Signer,
    pub token: String,
    revision: u64,
}

impl Gateway {
    /// Configured, and without a snapshot yet.
    pub fn new() -> Self {
        let secret = format!("a-gateway-secret.{}", snapshot_key().thumbprint());
        let (mut vm, accepted) =
            Vm::configure(&configuration(), &[("WRIT_GATEWAY_SECRET", &secret)]);
        assert!(
            accepted,
            "the filter refused its configuration: {:#?}",
            vm.log()
        );
        for path in [
            "xds.route_metadata.filter_metadata.writ.server",
            "metadata.filter_metadata.writ.server",
        ] {
            vm.world()
                .properties
                .insert(path.to_owned(), b"ledger".to_vec());
        }
        vm.world()
            .properties
            .insert("source.address".to_owned(), b"192.0.2.7:41234".to_vec());
        let signer = Signer::generate();
        let claims = workload_claims(ISSUER, AGENT, RESOURCE, "ledger:read", 300);
        let token = signer.sign(ACCESS_TOKEN, &claims).expect("claims sign");
        Self {
            vm,
            signer,
            token,
            revision: 0,
        }
    }

    /// With a snapshot: ready to decide.
    pub fn ready() -> Self {
        let mut gateway = Self::new();
        let callout = gateway.snapshot_request();
        let snapshot = gateway.snapshot();
        let answer = gateway.snapshot_answer(&snapshot);
        gateway.vm.answer(&callout, answer);
        gateway
    }

    /// The filter's next request for a snapshot.
    pub fn snapshot_request(&mut self) -> Callout {
        for _ in 0..50 {
            if let Some(callout) = self.vm.take_callout(SNAPSHOT) {
                return callout;
            }
            self.vm.tick();
        }
        panic!(
            "the filter does not ask for a snapshot: {:#?}",
            self.vm.log()
        );
    }

    /// A snapshot with the policy library and one server, part by part.
    pub fn snapshot(&self) -> BTreeMap<String, Value> {
        let server = json!({
            "resource": RESOURCE, "upstream_audience": AUDIENCE, "status": "approved", "labels": {},
            "scopes": ["ledger:read"], "enforcement": "introspect", "seal_key": SealKey::new([7; 32]),
        });
        let agent = json!({ "status": "approved", "labels": {}, "tools": { "ledger": [TOOL] } });
        [
            (
                POLICY.to_owned(),
                json!({ "program": { "engine": ENGINE, "program": program() } }),
            ),
            (REVISION.to_owned(), json!("p1")),
            (
                KEYS.to_owned(),
                self.signer.jwks().expect("a key has a JWK"),
            ),
            (
                STOPS.to_owned(),
                json!({ "disabled_subjects": [], "stops": {} }),
            ),
            (
                bucket_name(SERVERS, bucket("ledger")),
                json!({ "ledger": server }),
            ),
            (bucket_name(AGENTS, bucket(AGENT)), json!({ AGENT: agent })),
        ]
        .into()
    }

    /// The token service's answer with all of a new revision.
    pub fn snapshot_answer(&mut self, snapshot: &BTreeMap<String, Value>) -> Reply {
        let mut contents: Contents = Contents::default();
        for (name, part) in snapshot {
            contents.put(name, part).expect("it is JSON");
        }
        self.revision += 1;
        let manifest: Document = Document::of(&contents.manifest()).expect("it is JSON");
        let now = self.vm.unix_seconds();
        let head = Head {
            format: FORMAT,
            iss: ISSUER.to_owned(),
            aud: "edge".to_owned(),
            epoch: 0,
            revision: self.revision,
            iat: now,
            exp: now + 900,
            manifest: manifest.digest,
        };
        let head = snapshot_key().sign(HEAD, &head).expect("it is JSON");
        let parts = contents.parts().values().map(|part| part.text.as_slice());
        Reply {
            headers: headers(&[(":status", "200")]),
            body: answer(&[head], [manifest.text.as_slice()].into_iter().chain(parts)),
        }
    }

    /// Headers of a good call.
    pub fn call_headers(&self) -> Headers {
        headers(&[
            (":method", "POST"),
            (":path", "/mcp"),
            (":authority", "gateway.test"),
            (":scheme", "http"),
            ("x-request-id", "0b1e7a52-5d0c-4a8e-9a39-3a3f7f6e1c11"),
            ("authorization", &format!("Bearer {}", self.token)),
            ("cookie", "session=1"),
            ("accept", "application/json, text/event-stream"),
            ("content-type", "application/json"),
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "tools/call"),
            ("mcp-name", TOOL),
        ])
    }

    /// Opens a good call and sends its body, all at once.
    pub fn call(&mut self) -> u32 {
        let headers = self.call_headers();
        let id = self.vm.open(headers, false);
        self.vm.body(id, message().as_bytes(), true);
        id
    }

    /// The token service's good answer to a token request: what was asked for, signed.
    pub fn mint(&self, callout: &Callout) -> Reply {
        let form: Vec<(String, String)> =
            form_urlencoded::parse(&callout.body).into_owned().collect();
        let field = |name: &str| {
            form.iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.as_str())
        };
        let details: Value = field("authorization_details")
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default();
        let now = self.vm.unix_seconds();
        let claims = json!({
            "iss": ISSUER, "sub": AGENT, "aud": AUDIENCE, "client_id": AGENT, "scope": "ledger:read", "jti": "minted-1", "txn": "t1",
            "iat": now, "exp": now + 30, "act": { "sub": "edge", "act": { "sub": AGENT } }, "authorization_details": details,
        });
        let token = self
            .signer
            .sign(ACCESS_TOKEN, &claims)
            .expect("claims sign");
        json_reply(
            200,
            &[("cache-control", "no-store")],
            &json!({
                "access_token": token, "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
                "token_type": "Bearer", "expires_in": 30, "scope": "ledger:read", "txn": "t1", "jti": "minted-1",
            }),
        )
    }

    /// The token request that a call is waiting for.
    pub fn token_request(&mut self, id: u32) -> Callout {
        self.vm.take_callout(TOKEN).unwrap_or_else(|| {
            panic!(
                "no token request; the call is {:?}; log: {:#?}",
                self.vm.fate(id),
                self.vm.log()
            )
        })
    }

    /// A whole good call: it goes upstream on a minted token and leaves with a response.
    pub fn a_good_call_goes_upstream(&mut self) {
        let id = self.call();
        let callout = self.token_request(id);
        let reply = self.mint(&callout);
        self.vm.answer(&callout, reply);
        self.assert_upstream_on_a_minted_token(id);
        self.vm.response_headers(
            id,
            headers(&[(":status", "200"), ("content-type", "application/json")]),
            false,
        );
        self.vm
            .response_body(id, br#"{"jsonrpc":"2.0","id":1,"result":{}}"#, true);
        self.vm.close(id);
    }

    pub fn assert_upstream_on_a_minted_token(&self, id: u32) {
        let Fate::Upstream { headers, body } = self.vm.fate(id) else {
            panic!(
                "not upstream: {:?}; log: {:#?}",
                self.vm.fate(id),
                self.vm.log()
            );
        };
        let authorization = wire::value(&headers, "authorization").unwrap_or_default();
        assert!(
            authorization.starts_with("Bearer ") && !authorization.contains(&self.token),
            "{headers:?}"
        );
        assert_eq!(
            wire::value(&headers, "cookie"),
            None,
            "the caller's cookies went upstream"
        );
        assert_eq!(body, message().as_bytes(), "the body changed on its way");
    }

    /// The promise under any failure: what goes upstream goes on a minted token, or does not go.
    pub fn assert_closed(&self, id: u32, case: &str) {
        match self.vm.fate(id) {
            Fate::Held | Fate::Answered(_) | Fate::FailedClosed => {}
            Fate::Upstream { headers, .. } => panic!("{case}: went upstream with {headers:?}"),
        }
    }

    /// Refused with this status and a JSON-RPC error.
    pub fn assert_refused(&self, id: u32, status: u32, case: &str) -> Value {
        let Fate::Answered(answer) = self.vm.fate(id) else {
            panic!("{case}: {:?}; log: {:#?}", self.vm.fate(id), self.vm.log());
        };
        assert_eq!(
            answer.status,
            status,
            "{case}: {}",
            String::from_utf8_lossy(&answer.body)
        );
        let message: Value =
            serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert!(message["error"]["message"].is_string(), "{case}: {message}");
        message
    }

    /// Ticks for this long.
    pub fn wait(&mut self, how_long: Duration) {
        let until = self.vm.world().monotonic + how_long;
        while self.vm.world().monotonic < until {
            self.vm.tick();
        }
    }
}

/// A good call's body.
pub fn message() -> String {
    writ_tests::mcp::call_message(TOOL, &json!({ "account": "ops" })).to_string()
}

pub fn json_reply(status: u16, more: &[(&str, &str)], body: &Value) -> Reply {
    let status = status.to_string();
    let mut pairs = vec![
        (":status", status.as_str()),
        ("content-type", "application/json"),
    ];
    pairs.extend_from_slice(more);
    Reply {
        headers: headers(&pairs),
        body: body.to_string().into_bytes(),
    }
}

/// The policy library, compiled once.
fn program() -> &'static str {
    static PROGRAM: OnceLock<String> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let program = engine::compile(&library::modules()).expect("the library compiles");
        BASE64_URL_SAFE_NO_PAD.encode(program.to_bytes().expect("a program serialises"))
    })
}
