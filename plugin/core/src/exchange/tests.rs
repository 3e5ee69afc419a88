//! A request's life against a proxy made of cells: what goes up, what comes back, and in which order.

mod answers;
mod ends;
mod headers;
mod inputs;
mod late;
mod leaving;
mod pins;
mod policy_failures;
mod responses;
mod sessions;
pub(crate) mod snapshots;
mod traces;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_simple::prelude::{Ed25519KeyPair, EdDSAKeyPairLike};
use serde_json::{Value as Json, json};
use writ_policy::{engine, library};

use writ_policy::event::{CallResult, EventBatch};
use writ_policy::snapshot::SealKey;

use writ_policy::decision::DenialCause;
use writ_policy::event::Denied;

use super::*;
use crate::host::{Call as HostCall, CallRefused};
use crate::message::content_digest;

const NOW: u64 = 1_795_000_000;
const RESOURCE: &str = "https://gateway.example/ledger/mcp";
const CALL: &str =
    r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"listAccounts"}}"#;
const LIST: &str = r#"{"jsonrpc":"2.0","id":7,"method":"tools/list"}"#;

mod guarded;

/// A call to a cluster: its name, the headers, the body.
type Sent = (String, HashMap<String, String>, Vec<u8>);

/// What a proxy does not do with the body of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Breaks {
    Reading,
    ReadingAll,
    Writing,
}

#[derive(Default)]
struct Proxy {
    headers: RefCell<BTreeMap<String, String>>,
    extra: RefCell<Vec<(String, Vec<u8>)>>,
    body: RefCell<Vec<u8>>,
    replies: RefCell<Vec<Reply>>,
    calls: RefCell<Vec<Sent>>,
    answer: RefCell<Option<(u16, Vec<u8>)>>,
    response: RefCell<BTreeMap<String, String>>,
    refuses_calls: Cell<bool>,
    resumed: Cell<u32>,
    server: RefCell<String>,
    later_s: Cell<u64>,
    flags: Cell<u64>,
    breaks: Cell<Option<Breaks>>,
    shared: RefCell<BTreeMap<String, (Vec<u8>, u32)>>,
    random: Cell<Option<[u8; 32]>>,
    /// What `jwt_authn` has put under `writ`.
    verified: RefCell<Option<Vec<u8>>>,
    /// What happens elsewhere before the next values are shared.
    meanwhile: RefCell<Vec<fn(&Proxy)>>,
}

impl Host for Proxy {
    fn now(&self) -> Duration {
        Duration::from_secs(NOW + self.later_s.get())
    }
    fn request_headers(&self) -> Vec<(String, Vec<u8>)> {
        let own = self.headers.borrow();
        let own = own.iter().map(|(n, v)| (n.clone(), v.clone().into_bytes()));
        own.chain(self.extra.borrow().iter().cloned()).collect()
    }
    fn set_request_header(&self, name: &str, value: &str) {
        self.extra.borrow_mut().retain(|(other, _)| other != name);
        self.headers
            .borrow_mut()
            .insert(name.to_owned(), value.to_owned());
    }
    fn remove_request_header(&self, name: &str) {
        self.headers.borrow_mut().remove(name);
        self.extra.borrow_mut().retain(|(other, _)| other != name);
    }
    fn request_body(&self, max: usize) -> Option<Vec<u8>> {
        Some(self.body.borrow().iter().copied().take(max).collect())
    }
    fn set_request_body(&self, size: usize, bytes: &[u8]) -> bool {
        let mut body = self.body.borrow_mut();
        let size = size.min(body.len());
        body.splice(..size, bytes.iter().copied());
        true
    }
    fn resume_request(&self) {
        self.resumed.set(self.resumed.get() + 1);
    }
    fn respond(&self, reply: &Reply) {
        self.replies.borrow_mut().push(reply.clone());
    }
    fn response_header(&self, name: &str) -> Option<Vec<u8>> {
        self.response
            .borrow()
            .get(name)
            .map(|value| value.clone().into_bytes())
    }
    fn response_body(&self, max: usize) -> Option<Vec<u8>> {
        match self.breaks.get() {
            Some(Breaks::Reading) => None,
            Some(Breaks::ReadingAll) => self.request_body(max.saturating_sub(1)),
            Some(Breaks::Writing) | None => self.request_body(max),
        }
    }
    fn set_response_header(&self, name: &str, value: &str) {
        self.response
            .borrow_mut()
            .insert(name.to_owned(), value.to_owned());
    }
    fn remove_response_header(&self, name: &str) {
        self.response.borrow_mut().remove(name);
    }
    fn set_response_body(&self, size: usize, bytes: &[u8]) -> bool {
        self.breaks.get() != Some(Breaks::Writing) && self.set_request_body(size, bytes)
    }
    fn shared_get(&self, key: &str) -> Option<(Vec<u8>, u32)> {
        self.shared.borrow().get(key).cloned()
    }
    fn shared_put(&self, key: &str, value: &[u8]) {
        let mut shared = self.shared.borrow_mut();
        let version = shared.get(key).map_or(0, |(_, version)| *version);
        shared.insert(key.to_owned(), (value.to_vec(), version + 1));
    }
    fn shared_set(&self, key: &str, value: &[u8], version: Option<u32>) -> bool {
        let meanwhile = self.meanwhile.borrow_mut().pop();
        if let Some(meanwhile) = meanwhile {
            meanwhile(self);
        }
        let mut shared = self.shared.borrow_mut();
        let now = shared.get(key).map(|(_, version)| *version);
        if now != version {
            return false;
        }
        shared.insert(
            key.to_owned(),
            (value.to_vec(), now.map_or(1, |now| now + 1)),
        );
        true
    }
    fn random(&self) -> Option<[u8; 32]> {
        self.random.get()
    }
    fn property(&self, path: &[&str]) -> Option<Vec<u8>> {
        match path {
            ["xds", "route_metadata", "filter_metadata", "writ", "server"] => {
                Some(self.server.borrow().clone().into_bytes())
            }
            [
                "metadata",
                "filter_metadata",
                "envoy.filters.http.jwt_authn",
                "writ",
            ] => self.verified.borrow().clone(),
            ["response", "flags"] => Some(self.flags.get().to_le_bytes().to_vec()),
            ["source", "address"] => Some(b"[2001:db8::1]:5000".to_vec()),
            _ => None,
        }
    }
    fn call(&self, call: &HostCall<'_>) -> Result<CallId, CallRefused> {
        if self.refuses_calls.get() {
            return Err(CallRefused);
        }
        let headers = call
            .headers
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        let mut calls = self.calls.borrow_mut();
        calls.push((call.cluster.to_owned(), headers, call.body.to_vec()));
        Ok(u32::try_from(calls.len()).unwrap())
    }
    fn answer_header(&self, name: &str) -> Option<Vec<u8>> {
        assert_eq!(name, ":status");
        self.answer
            .borrow()
            .as_ref()
            .map(|(status, _)| status.to_string().into_bytes())
    }
    fn answer_body(&self, max: usize) -> Option<Vec<u8>> {
        self.answer
            .borrow()
            .as_ref()
            .map(|(_, body)| body.iter().copied().take(max).collect())
    }
}

/// A gateway with a snapshot, its issuer's key, and one request at a time.
struct World {
    proxy: Proxy,
    gateway: Gateway,
    key: Ed25519KeyPair,
    exchange: Exchange,
}

impl World {
    fn new() -> Self {
        let world = Self::without_snapshot();
        world.with_snapshot(|_| {})
    }

    fn without_snapshot() -> Self {
        Self::configured(
            br#"{"mode":"gateway","token_service":{"cluster":"writ","gateway_id":"edge","secret_env":"S"},
            "limits":{"body":"1KiB"}}"#,
        )
    }

    fn configured(configuration: &[u8]) -> Self {
        let gateway = Gateway::start(configuration, |_| Some(snapshots::secret())).unwrap();
        let key = Ed25519KeyPair::generate().with_key_id("k");
        Self {
            proxy: Proxy::default(),
            gateway,
            key,
            exchange: Exchange::new(2),
        }
    }

    fn with_snapshot(mut self, change: impl FnOnce(&mut Json)) -> Self {
        let mut snapshot = self.snapshot();
        change(&mut snapshot);
        self.told(&snapshots::whole(&self.next_head(), &snapshot));
        self
    }

    fn snapshot(&self) -> Json {
        let mut jwk: Json = serde_json::from_str(&self.key.public_key().to_jwk()).unwrap();
        jwk["kid"] = json!("k");
        let program = engine::compile(&library::modules())
            .unwrap()
            .to_bytes()
            .unwrap();
        json!({
            "jwks": {"keys": [jwk]},
            "revision": "p1",
            "policy": {"program": {"engine": engine::ENGINE, "program": URL_SAFE_NO_PAD.encode(program)}},
            "data": serde_json::from_str::<Json>(library::example_data()).unwrap(),
            "servers": {"ledger": {"resource": RESOURCE, "upstream_audience": "urn:ledger", "status": "approved",
                "scopes": ["read"], "enforcement": "introspect", "seal_key": SealKey::new([7; 32])}},
            "agents": {"assistant": {"status": "approved"}},
            "disabled_subjects": [],
            "revoked": [],
        })
    }

    fn calls(&self) -> CallId {
        u32::try_from(self.proxy.calls.borrow().len()).unwrap()
    }

    fn answers(&self, status: u16, body: &str) {
        self.proxy
            .answer
            .replace(Some((status, body.as_bytes().to_vec())));
    }

    fn sign(&self, claims: &Json) -> String {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA","typ":"at+jwt","kid":"k"}"#);
        let input = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = self.key.key_pair().as_ref().sk.sign(input.as_bytes(), None);
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    fn caller_claims() -> Json {
        json!({"iss": "https://issuer.example", "sub": "alice", "aud": RESOURCE, "client_id": "assistant", "exp": NOW + 60,
            "jti": "c1", "groups": ["finance"], "subject_type": "user", "agent_authn": "key"})
    }

    /// Plays a request up to the point where its body has come.
    fn request(&mut self, token: Option<&str>, body: &str) -> Flow {
        self.exchange = Exchange::new(2);
        self.play(token, body)
    }

    /// The same in another context.
    fn request_in(&mut self, context: u32, token: &str, body: &str) -> Flow {
        self.exchange = Exchange::new(context);
        self.play(Some(token), body)
    }

    fn play(&mut self, token: Option<&str>, body: &str) -> Flow {
        match self.arrives(token, body) {
            Flow::Continue => Flow::Continue,
            Flow::Pause if self.proxy.replies.borrow().is_empty() => self.body_comes(),
            Flow::Pause => Flow::Pause,
        }
    }

    /// The body is there, all of it.
    fn body_comes(&mut self) -> Flow {
        let size = self.proxy.body.borrow().len();
        self.exchange
            .on_request_body(&mut self.gateway, &self.proxy, size, true)
    }

    /// Plays a request up to its body.
    fn arrives(&mut self, token: Option<&str>, body: &str) -> Flow {
        *self.proxy.server.borrow_mut() = "ledger".to_owned();
        let mut headers = BTreeMap::from(
            [
                (":method", "POST"),
                (":path", "/ledger/mcp"),
                (":authority", "gateway.example"),
                ("x-request-id", "req-1"),
                ("content-type", "application/json"),
                ("accept-encoding", "gzip"),
                ("cookie", "session=1"),
                ("x-api-key", "k"),
            ]
            .map(|(n, v)| (n.to_owned(), v.to_owned())),
        );
        if let Some(token) = token {
            headers.insert("authorization".to_owned(), format!("Bearer {token}"));
        }
        self.proxy.headers.replace(headers);
        self.proxy.body.replace(body.as_bytes().to_vec());
        self.exchange
            .on_request_headers(&mut self.gateway, &self.proxy, false)
    }

    fn caller(&self) -> String {
        self.sign(&Self::caller_claims())
    }

    /// The form of the last call, which must be a token request.
    fn form(&self) -> HashMap<String, String> {
        let calls = self.proxy.calls.borrow();
        let (cluster, headers, body) = calls.last().unwrap();
        assert_eq!(
            (cluster.as_str(), headers[":path"].as_str()),
            ("writ", "/oauth/token")
        );
        form_urlencoded::parse(body).into_owned().collect()
    }

    fn minted_claims(body: &str) -> Json {
        json!({"iss": "https://issuer.example", "sub": "alice", "aud": "urn:ledger", "client_id": "assistant", "exp": NOW + 30,
            "jti": "m1", "txn": "t1", "act": {"sub": "edge", "act": {"sub": "assistant"}},
            "authorization_details": [{"type": "mcp_request", "server": "ledger", "method": "tools/call",
                "target": "listAccounts", "content_digest": content_digest(body.as_bytes())}]})
    }

    fn discovery_claims() -> Json {
        let mut claims = Self::minted_claims("");
        claims["authorization_details"] = json!([{"type": "mcp_discovery", "server": "ledger"}]);
        claims
    }

    /// Answers the awaited token request with a token.
    fn mint(&mut self, claims: &Json) -> String {
        let token = self.sign(claims);
        self.answers(
            200,
            &json!({"access_token": token, "token_type": "Bearer"}).to_string(),
        );
        self.answered();
        token
    }

    /// The answer to the last call comes in.
    fn answered(&mut self) {
        let call = self.calls();
        self.exchange
            .on_answer(&mut self.gateway, &self.proxy, call);
    }

    /// The record of a denial gets there, where one is waited for.
    fn recorded(&mut self) {
        let is_awaited = self.proxy.replies.borrow().is_empty()
            && self
                .proxy
                .calls
                .borrow()
                .last()
                .is_some_and(|(_, headers, _)| headers[":path"] == "/gateway/v1/events");
        if is_awaited {
            self.answers(204, "");
            self.answered();
        }
    }

    fn reply(&self) -> (u32, Json) {
        let replies = self.proxy.replies.borrow();
        assert_eq!(replies.len(), 1, "{replies:?}");
        (
            replies[0].status,
            serde_json::from_str(&replies[0].body).unwrap(),
        )
    }

    fn events(&mut self) -> Vec<Event> {
        self.gateway.on_tick(&self.proxy);
        let calls = self.proxy.calls.borrow();
        let (_, headers, body) = calls.last().unwrap();
        if headers[":path"] != "/gateway/v1/events" {
            return Vec::new();
        }
        serde_json::from_slice::<EventBatch>(body).unwrap().events
    }

    /// Nothing went upstream, nor can it still.
    fn assert_nothing_forwarded(&self) {
        assert_eq!(self.proxy.resumed.get(), 0);
        assert_eq!(self.gateway.stats.allowed, 0);
    }
}

#[test]
fn the_workers_of_a_proxy_agree_on_a_key() {
    let proxy = Proxy::default();
    let asks = |random: Option<u8>| {
        proxy.random.set(random.map(|byte| [byte; 32]));
        crate::shared_key::agreed(&proxy)
    };
    assert_eq!(asks(None), None);
    assert_eq!(asks(Some(1)), Some([1; 32]));
    assert_eq!(asks(Some(2)), Some([1; 32]));
}

#[test]
fn an_allowed_call_travels_on_a_token_of_its_own() {
    let mut world = World::new();
    let caller = world.caller();
    assert_eq!(world.request(Some(&caller), CALL), Flow::Pause);
    let form = world.form();
    assert_eq!(form["subject_token"], caller);
    assert_eq!(form["resource"], RESOURCE);
    assert_eq!(
        URL_SAFE_NO_PAD.decode(&form["mcp_message"]).unwrap(),
        CALL.as_bytes()
    );
    let details: Json = serde_json::from_str(&form["authorization_details"]).unwrap();
    assert_eq!(details, World::minted_claims(CALL)["authorization_details"]);
    let context: Json = serde_json::from_str(&form["mcp_context"]).unwrap();
    assert_eq!(
        (&context["source_ip"], &context["policy_revision"]),
        (&json!("2001:db8::1"), &json!("p1"))
    );
    world.assert_nothing_forwarded();

    let minted = world.mint(&World::minted_claims(CALL));
    assert_eq!(world.proxy.resumed.get(), 1);
    let headers = world.proxy.headers.borrow().clone();
    assert_eq!(headers["authorization"], format!("Bearer {minted}"));
    assert_eq!(headers["content-digest"], content_digest(CALL.as_bytes()));
    assert_eq!(headers["accept-encoding"], "identity");
    assert!(!headers.contains_key("cookie") && !headers.contains_key("x-api-key"));
    assert!(!headers.values().any(|value| value.contains(&caller)));
}

const TASK: &str = "019aa0c0-6a3e-7c3e-9c1e-0a1b2c3d4e5f";

#[test]
fn a_task_is_told_to_the_service_and_to_nobody_else() {
    let mut world = World::new();
    let caller = world.caller();
    let named = ("writ-task".to_owned(), TASK.as_bytes().to_vec());
    world.proxy.extra.replace(vec![named]);
    world.request(Some(&caller), CALL);
    let context: Json = serde_json::from_str(&world.form()["mcp_context"]).unwrap();
    assert_eq!(context["task"], TASK);
    world.mint(&World::minted_claims(CALL));
    assert_eq!(world.proxy.resumed.get(), 1);
    assert!(world.proxy.extra.borrow().is_empty());
}

#[test]
fn a_discovery_token_of_one_task_is_not_used_for_another() {
    let mut world = World::new();
    let caller = world.caller();
    world.request(Some(&caller), LIST);
    world.mint(&World::discovery_claims());
    assert_eq!(world.request(Some(&caller), LIST), Flow::Continue);
    let named = ("writ-task".to_owned(), TASK.as_bytes().to_vec());
    world.proxy.extra.replace(vec![named]);
    assert_eq!(world.request(Some(&caller), LIST), Flow::Pause);
    world.mint(&World::discovery_claims());
    let named = ("writ-task".to_owned(), TASK.as_bytes().to_vec());
    world.proxy.extra.replace(vec![named]);
    assert_eq!(world.request(Some(&caller), LIST), Flow::Continue);
}

#[test]
fn what_is_no_task_is_refused_before_anybody_is_asked() {
    let mut world = World::new();
    let caller = world.caller();
    let named = ("writ-task".to_owned(), b"month-end".to_vec());
    world.proxy.extra.replace(vec![named]);
    world.request(Some(&caller), CALL);
    world.assert_nothing_forwarded();
    let (status, body) = world.reply();
    assert_eq!(status, 400);
    assert!(body.to_string().contains("writ-task"), "{body}");
}

#[test]
fn the_outcome_is_reported_after_the_response() {
    let mut world = World::new();
    let caller = world.caller();
    world.request(Some(&caller), CALL);
    world.mint(&World::minted_claims(CALL));
    world.proxy.response.replace(BTreeMap::from(
        [(":status", "200"), ("content-type", "application/json")]
            .map(|(n, v)| (n.to_owned(), v.to_owned())),
    ));
    world
        .exchange
        .on_response_headers(&mut world.gateway, &world.proxy, false);
    let body = r#"{"jsonrpc":"2.0","id":7,"result":{"isError":true}}"#;
    world.proxy.body.replace(body.as_bytes().to_vec());
    world
        .exchange
        .on_response_body(&mut world.gateway, &world.proxy, body.len(), true);
    world.exchange.on_end(&mut world.gateway, &world.proxy);
    let events = world.events();
    let [Event::Outcome(outcome)] = events.as_slice() else {
        panic!("{events:?}")
    };
    assert_eq!(
        (outcome.token_id.as_str(), outcome.status),
        ("m1", Some(200))
    );
    assert_eq!(outcome.result, CallResult::ToolError);
    assert_eq!(
        (outcome.request_bytes, outcome.response_bytes),
        (CALL.len() as u64, body.len() as u64)
    );
}

#[test]
fn a_response_that_never_ended_was_cut_off() {
    let mut world = World::new();
    let caller = world.caller();
    world.request(Some(&caller), CALL);
    world.mint(&World::minted_claims(CALL));
    world.exchange.on_end(&mut world.gateway, &world.proxy);
    assert!(
        matches!(world.events().as_slice(), [Event::Outcome(o)] if o.result == CallResult::CutOff && o.status.is_none())
    );
}

#[test]
fn a_token_for_something_else_is_not_forwarded() {
    let detail = |name: &str, value: &str| {
        let mut claims = World::minted_claims(CALL);
        claims["authorization_details"][0][name] = json!(value);
        claims
    };
    let claim = |name: &str, value: Json| {
        let mut claims = World::minted_claims(CALL);
        claims[name] = value;
        claims
    };
    for claims in [
        detail("server", "crm"),
        detail("method", "prompts/get"),
        detail("target", "transfer"),
        detail("content_digest", &content_digest(b"x")),
        detail("type", "mcp_discovery"),
        claim("aud", json!("urn:crm")),
        claim("aud", json!(["urn:ledger", "urn:crm"])),
        claim("iss", json!("https://other.example")),
        claim("sub", json!("bob")),
        claim("client_id", json!("other")),
        claim("exp", json!(NOW)),
        claim("jti", Json::Null),
        claim("authorization_details", json!([])),
        World::discovery_claims(),
        World::caller_claims(),
    ] {
        let mut world = World::new();
        let caller = world.caller();
        world.request(Some(&caller), CALL);
        world.mint(&claims);
        let (status, body) = world.reply();
        assert_eq!(
            (status, &body["id"], &body["error"]["code"]),
            (503, &json!(7), &json!(503)),
            "{claims}"
        );
        world.assert_nothing_forwarded();
    }
}

#[test]
fn a_service_in_trouble_means_no_call() {
    for (status, body, expected) in [
        (200, "", 503),
        (200, "<html>", 503),
        (200, r#"{"access_token":"x","token_type":"Bearer"}"#, 503),
        (200, r#"{"access_token":"x","token_type":"DPoP"}"#, 503),
        (500, "", 503),
        (503, "{}", 503),
        (401, r#"{"error":"invalid_client"}"#, 503),
        (400, r#"{"error":"invalid_target"}"#, 503),
        (400, "garbage", 503),
        (302, "", 503),
        (
            400,
            r#"{"error":"invalid_grant","error_description":"the user is disabled"}"#,
            401,
        ),
        (
            403,
            r#"{"error":"access_denied","error_description":"not today"}"#,
            200,
        ),
    ] {
        let mut world = World::new();
        let caller = world.caller();
        world.request(Some(&caller), CALL);
        world.answers(status, body);
        world.answered();
        assert_eq!(world.reply().0, expected, "{status} {body}");
        world.assert_nothing_forwarded();
    }
    let mut world = World::new();
    let caller = world.caller();
    world.request(Some(&caller), CALL);
    world.proxy.answer.replace(None);
    world.answered();
    assert_eq!(world.reply().0, 503, "no answer at all");

    let mut world = World::new();
    let caller = world.caller();
    world.proxy.refuses_calls.set(true);
    world.request(Some(&caller), CALL);
    assert_eq!(world.reply().0, 503, "no cluster");
    world.assert_nothing_forwarded();
}

#[test]
fn a_caller_who_lacks_scope_is_told_which_to_ask_for() {
    let classified = |snapshot: &mut Json| {
        snapshot["data"]["classification"] = json!({
            "levels": {"internal": {"scopes": {"read": true, "internal": true}}},
            "tools": {"ledger": {"listAccounts": "internal"}},
        });
    };
    let asks_for = "error=\"insufficient_scope\"";
    let scope = "scope=\"internal read\"";

    let mut world = World::without_snapshot().with_snapshot(classified);
    let caller = world.caller();
    world.request(Some(&caller), CALL);
    assert!(world.proxy.replies.borrow().is_empty(), "not on record yet");
    world.answers(204, "");
    world.answered();
    let (status, body) = world.reply();
    assert_eq!((status, &body["id"]), (403, &json!(7)));
    assert_eq!(body["error"]["data"]["type"], "insufficient_scope");
    world.assert_told(asks_for, scope);

    let mut claims = World::caller_claims();
    claims["scope"] = json!("read internal");
    let mut world = World::without_snapshot().with_snapshot(classified);
    let caller = world.sign(&claims);
    world.request(Some(&caller), CALL);
    assert!(
        world.form().contains_key("subject_token"),
        "goes on to the service"
    );
    // Which may know more.
    world.answers(
        403,
        r#"{"error":"insufficient_scope","error_description":"not enough","scope":"internal read"}"#,
    );
    world.answered();
    let (status, body) = world.reply();
    assert_eq!(
        (status, &body["error"]["message"]),
        (403, &json!("not enough"))
    );
    world.assert_told(asks_for, scope);
}

impl World {
    /// The one answer's challenge says so.
    fn assert_told(&self, error: &str, scope: &str) {
        let replies = self.proxy.replies.borrow();
        let mut headers = replies[0].headers.iter();
        let (_, told) = headers.find(|(n, _)| *n == "www-authenticate").unwrap();
        assert!(told.contains(error) && told.contains(scope), "{told}");
        self.assert_nothing_forwarded();
    }
}

#[test]
fn a_denial_is_recorded_before_it_is_answered() {
    let mut world = World::new();
    let caller = world.caller();
    let body = CALL.replace("listAccounts", "exportAuditReport");
    assert_eq!(world.request(Some(&caller), &body), Flow::Pause);
    assert!(
        world.proxy.replies.borrow().is_empty(),
        "answered too early"
    );
    let batch: EventBatch =
        serde_json::from_slice(&world.proxy.calls.borrow().last().unwrap().2).unwrap();
    let [Event::Denied(denied)] = batch.events.as_slice() else {
        panic!("{batch:?}")
    };
    assert_eq!(
        (denied.call.subject.as_str(), denied.call.target.as_deref()),
        ("alice", Some("exportAuditReport"))
    );
    assert_eq!(
        (denied.cause, denied.policy_revision.as_str()),
        (DenialCause::Policy, "p1")
    );

    world.answers(204, "");
    world.answered();
    let (status, reply) = world.reply();
    assert_eq!((status, &reply["error"]["code"]), (200, &json!(403)));
    assert_eq!(
        reply["error"]["message"],
        "alice has no grant for exportAuditReport on ledger"
    );
    world.assert_nothing_forwarded();
}

#[test]
fn a_denial_that_cannot_be_recorded_at_once_is_not_lost() {
    let mut world = World::new();
    let caller = world.caller();
    world.proxy.refuses_calls.set(true);
    world.request(Some(&caller), &CALL.replace("listAccounts", "transfer"));
    let (status, reply) = world.reply();
    assert_eq!((status, &reply["error"]["code"]), (503, &json!(503)));
    let told = reply["error"]["message"].as_str().unwrap();
    assert!(told.contains("could not be put on record"), "{told}");
    world.assert_nothing_forwarded();
    world.proxy.refuses_calls.set(false);
    assert!(matches!(world.events().as_slice(), [Event::Denied(_)]));
}

#[test]
fn a_denial_whose_record_was_refused_or_not_awaited_is_reported_again() {
    for leaves in [false, true] {
        let mut world = World::new();
        let caller = world.caller();
        world.request(Some(&caller), &CALL.replace("listAccounts", "transfer"));
        if leaves {
            world.exchange.on_end(&mut world.gateway, &world.proxy);
        } else {
            world.answers(503, "");
            world.answered();
            assert_eq!(world.reply().0, 503);
        }
        assert!(matches!(world.events().as_slice(), [Event::Denied(_)]));
    }
}

#[test]
fn discovery_travels_on_a_token_that_is_used_again() {
    let mut world = World::new();
    let caller = world.caller();
    assert_eq!(world.request(Some(&caller), LIST), Flow::Pause);
    let minted = world.mint(&World::discovery_claims());
    let calls = world.calls();
    assert_eq!(world.request(Some(&caller), LIST), Flow::Continue);
    assert_eq!(
        world.proxy.headers.borrow()["authorization"],
        format!("Bearer {minted}")
    );
    assert_eq!(world.calls(), calls, "no second token");
    assert!(
        matches!(world.events().as_slice(), [Event::DiscoveryUse(used)] if used.token_id == "m1")
    );
    // Another caller's token is another matter, and so is a call.
    let mut claims = World::caller_claims();
    claims["jti"] = json!("c2");
    let other = world.sign(&claims);
    assert_eq!(world.request(Some(&other), LIST), Flow::Pause);
    assert_eq!(world.request(Some(&caller), CALL), Flow::Pause);
}

#[test]
fn without_a_snapshot_nothing_passes() {
    let mut world = World::without_snapshot();
    let caller = world.caller();
    world.request(Some(&caller), CALL);
    assert_eq!(world.reply().0, 503);
    world.assert_nothing_forwarded();
}

#[test]
fn callers_who_do_not_count_are_challenged_and_counted() {
    let claim = |name: &str, value: Json| {
        let mut claims = World::caller_claims();
        claims[name] = value;
        Some(claims)
    };
    for (claims, kind) in [
        (None, "missing_token"),
        (claim("exp", json!(NOW - 10)), "expired"),
        (claim("nbf", json!(NOW + 60)), "not_yet_valid"),
        (
            claim("iss", json!("https://other.example")),
            "unknown_issuer",
        ),
        (
            claim("aud", json!("https://elsewhere.example")),
            "wrong_audience",
        ),
        (claim("aud", json!("urn:ledger")), "wrong_audience"),
        (claim("client_id", json!("stranger")), "unknown_agent"),
        (Some(World::minted_claims(CALL)), "minted_token"),
        (
            claim("authorization_details", json!([{"type": "mcp_discovery"}])),
            "minted_token",
        ),
    ] {
        let mut world = World::new();
        let token = claims.map(|claims| world.sign(&claims));
        world.request(token.as_deref(), CALL);
        assert_eq!(world.reply().0, 401, "{kind}");
        let challenge = world.proxy.replies.borrow()[0]
            .headers
            .iter()
            .find(|(n, _)| *n == "www-authenticate")
            .unwrap()
            .1
            .clone();
        assert!(
            challenge.contains("resource_metadata=\"https://gateway.example/.well-known/oauth-protected-resource/ledger/mcp\""),
            "{challenge}"
        );
        assert_eq!(
            challenge.contains("error=\"invalid_token\""),
            kind != "missing_token",
            "{challenge}"
        );
        let events = world.events();
        assert!(
            matches!(events.as_slice(), [Event::Unauthenticated(u)] if u.kind == kind && u.count == 1),
            "{kind}: {events:?}"
        );
    }
}

#[test]
fn a_token_that_was_taken_back_is_refused_and_so_is_what_came_of_it() {
    let cases = [
        ("c1", true),
        ("g1", true),
        ("t1", true),
        ("p1", true),
        ("other", false),
    ];
    for (id, refused) in cases {
        let change = |s: &mut Json| s["revoked"] = json!([id]);
        let mut world = World::without_snapshot().with_snapshot(change);
        let mut claims = World::caller_claims();
        claims["grant_id"] = json!("g1");
        claims["txn"] = json!("t1");
        claims["derived_from"] = json!(["p0", "p1"]);
        let caller = world.sign(&claims);
        world.request(Some(&caller), LIST);
        assert_eq!(!world.proxy.replies.borrow().is_empty(), refused, "{id}");
        world.assert_nothing_forwarded();
        if refused {
            assert_eq!(world.reply().0, 401, "{id}");
        }
    }
}

#[test]
fn the_kill_switch_stops_what_was_issued_until_then_and_whoever_is_not_on_the_list() {
    let locked = |list: Json| json!({"lockdown": list});
    let cases = [
        (json!({"subjects": {"alice": NOW - 11}}), false),
        (json!({"subjects": {"alice": NOW - 10}}), true),
        (json!({"subjects": {"assistant": NOW}}), false),
        (json!({"agents": {"assistant": NOW - 11}}), false),
        (json!({"agents": {"assistant": NOW - 10}}), true),
        (json!({"agents": {"planner": NOW - 10}}), true),
        (json!({"agents": {"alice": NOW}}), false),
        (locked(json!({})), true),
        (locked(json!({"subjects": ["alice"]})), false),
        (locked(json!({"agents": ["assistant"]})), false),
        (locked(json!({"servers": ["ledger"]})), false),
        (
            locked(json!({"subjects": ["alice"], "servers": ["bank"]})),
            true,
        ),
    ];
    for (stops, refused) in cases {
        let mut world =
            World::without_snapshot().with_snapshot(|s: &mut Json| s["stops"] = stops.clone());
        let mut claims = World::caller_claims();
        claims["iat"] = json!(NOW - 10);
        claims["derived_from"] = json!(["agent:planner"]);
        let caller = world.sign(&claims);
        world.request(Some(&caller), LIST);
        assert_eq!(!world.proxy.replies.borrow().is_empty(), refused, "{stops}");
        world.assert_nothing_forwarded();
        if refused {
            assert_eq!(world.reply().0, 401, "{stops}");
        }
    }
}

#[test]
fn whoever_is_disabled_is_refused() {
    for (change, status) in [
        (
            (|s: &mut Json| s["disabled_subjects"] = json!(["alice"])) as fn(&mut Json),
            401,
        ),
        (
            |s| s["agents"]["assistant"]["status"] = json!("disabled"),
            401,
        ),
        (
            |s| s["agents"]["assistant"]["status"] = json!("pending"),
            401,
        ),
        (
            |s| s["servers"]["ledger"]["status"] = json!("disabled"),
            404,
        ),
        (|s| s["servers"] = json!({}), 404),
    ] {
        let mut world = World::without_snapshot().with_snapshot(change);
        let caller = world.caller();
        world.request(Some(&caller), CALL);
        assert_eq!(world.reply().0, status);
        world.assert_nothing_forwarded();
    }
}

#[test]
fn what_is_not_a_message_is_refused() {
    for (name, value, body, status) in [
        ("content-type", "text/plain", CALL, 415),
        ("content-encoding", "gzip", CALL, 415),
        ("content-length", "2000", CALL, 413),
        (":method", "PUT", CALL, 405),
        (":method", "GET", CALL, 406),
        ("authorization", "Basic YTpi", CALL, 401),
        (":path", "/ledger/mcp?access_token=x", CALL, 401),
        (
            "x-request-id",
            "req-1",
            "{\"jsonrpc\":\"2.0\",\"id\":7,\"id\":7}",
            400,
        ),
        ("x-request-id", "req-1", &"x".repeat(1025), 413),
    ] {
        let mut world = World::new();
        let caller = world.caller();
        world.request(Some(&caller), CALL);
        world.proxy.calls.borrow_mut().clear();
        world.exchange = Exchange::new(3);
        world
            .proxy
            .headers
            .borrow_mut()
            .insert(name.to_owned(), value.to_owned());
        world.proxy.body.replace(body.as_bytes().to_vec());
        if world
            .exchange
            .on_request_headers(&mut world.gateway, &world.proxy, false)
            == Flow::Pause
            && world.proxy.replies.borrow().is_empty()
        {
            world
                .exchange
                .on_request_body(&mut world.gateway, &world.proxy, body.len(), true);
        }
        assert_eq!(world.reply().0, status, "{name}: {value} {body}");
        assert!(world.proxy.calls.borrow().is_empty());
        world.assert_nothing_forwarded();
    }
}

#[test]
fn a_message_of_two_meanings_is_on_record_before_it_is_refused() {
    for (name, value) in [
        ("mcp-method", "tools/list"),
        ("mcp-name", "transfer"),
        ("mcp-name", "=?base64?dHJhbnNmZXI=?="),
        ("mcp-name", "=?base64?!?="),
    ] {
        let mut world = World::new();
        let caller = world.caller();
        let header = (name.to_owned(), value.as_bytes().to_vec());
        world.proxy.extra.replace(vec![header]);
        assert_eq!(world.request(Some(&caller), CALL), Flow::Pause);
        assert!(world.proxy.replies.borrow().is_empty(), "{name}: {value}");
        let batch: EventBatch =
            serde_json::from_slice(&world.proxy.calls.borrow().last().unwrap().2).unwrap();
        assert!(
            matches!(batch.events.as_slice(), [Event::Denied(denied)] if denied.cause == DenialCause::Disagreement),
            "{batch:?}"
        );
        world.recorded();
        assert_eq!(world.reply().0, 400, "{name}: {value}");
        world.assert_nothing_forwarded();
    }
}

#[test]
fn headers_that_agree_with_the_body_pass() {
    let mut world = World::new();
    let caller = world.caller();
    for name in [
        "listAccounts",
        "=?base64?bGlzdEFjY291bnRz?=",
        " listAccounts ",
    ] {
        world.exchange = Exchange::new(3);
        world.proxy.extra.replace(vec![
            ("mcp-method".to_owned(), b"tools/call".to_vec()),
            ("mcp-name".to_owned(), name.as_bytes().to_vec()),
        ]);
        assert_eq!(world.request(Some(&caller), CALL), Flow::Pause);
        assert!(world.proxy.replies.borrow().is_empty(), "{name}");
    }
}

#[test]
fn headers_that_are_not_text_are_refused() {
    for (name, value) in [
        ("authorization", b"Bearer \xff".as_slice()),
        ("x-other", b"\xff"),
        ("mcp-name", b"\xc3"),
    ] {
        let mut world = World::new();
        world
            .proxy
            .extra
            .replace(vec![(name.to_owned(), value.to_vec())]);
        world.request(None, CALL);
        assert_eq!(world.reply().0, 400, "{name}");
    }
    let mut world = World::new();
    let caller = world.caller();
    world
        .proxy
        .extra
        .replace(vec![("authorization".to_owned(), b"Bearer x".to_vec())]);
    world.request(Some(&caller), CALL);
    assert_eq!(world.reply().0, 400, "two authorization headers");
}

#[test]
fn the_metadata_is_told_to_anyone() {
    for (path, status) in [
        ("/.well-known/oauth-protected-resource/ledger/mcp", 200),
        ("/.well-known/oauth-protected-resource", 200),
        ("/.well-known/oauth-protected-resource/other", 404),
        ("/.well-known/oauth-protected-resourceful", 404),
    ] {
        let mut world = World::new();
        world.request(None, CALL);
        world.proxy.replies.borrow_mut().clear();
        world
            .proxy
            .headers
            .borrow_mut()
            .insert(":path".to_owned(), path.to_owned());
        world.exchange = Exchange::new(3);
        world
            .exchange
            .on_request_headers(&mut world.gateway, &world.proxy, true);
        let (got, body) = world.reply();
        assert_eq!(got, status, "{path}");
        if status == 200 {
            assert_eq!(
                body,
                json!({"resource": RESOURCE, "authorization_servers": ["https://issuer.example"], "scopes_supported": ["read"],
                    "bearer_methods_supported": ["header"], "dpop_signing_alg_values_supported": ["ES256", "EdDSA"]})
            );
        }
    }
}

#[test]
fn opening_a_stream_and_closing_a_session_are_asked_about() {
    for (method, details) in [
        ("GET", json!("mcp_discovery")),
        ("DELETE", json!("mcp_request")),
    ] {
        let mut world = World::new();
        let caller = world.caller();
        world.request(Some(&caller), CALL);
        world.exchange = Exchange::new(3);
        world
            .proxy
            .headers
            .borrow_mut()
            .insert(":method".to_owned(), method.to_owned());
        world
            .proxy
            .headers
            .borrow_mut()
            .insert("accept".to_owned(), "text/event-stream".to_owned());
        assert_eq!(
            world
                .exchange
                .on_request_headers(&mut world.gateway, &world.proxy, true),
            Flow::Pause
        );
        let form = world.form();
        assert_eq!(form["mcp_message"], "");
        assert_eq!(
            serde_json::from_str::<Json>(&form["authorization_details"]).unwrap()[0]["type"],
            details
        );
    }
}

#[test]
fn a_filter_by_itself_decides_and_strips_or_keeps_the_token() {
    for (setting, kept) in [("strip", false), ("keep", true)] {
        let mut world = World::without_snapshot();
        let mut jwk: Json = serde_json::from_str(&world.key.public_key().to_jwk()).unwrap();
        jwk["kid"] = json!("k");
        let configuration = json!({
            "mode": "static", "caller_token": setting,
            "servers": {"ledger": {"path": "/ledger/mcp", "resource": RESOURCE}},
            "issuers": {"https://issuer.example": {"jwks": {"keys": [jwk]}}},
            "policy": {"rego": "package writ\ncall := {\"allow\": input.mcp.tool == \"listAccounts\", \"reason\": \"no\"}"},
        });
        world.gateway = Gateway::start(configuration.to_string().as_bytes(), |_| None).unwrap();
        let caller = world.caller();
        assert_eq!(world.request(Some(&caller), CALL), Flow::Continue);
        assert_eq!(
            world.proxy.headers.borrow().contains_key("authorization"),
            kept
        );
        assert!(!world.proxy.headers.borrow().contains_key("cookie"));
        assert_eq!(
            world.request(Some(&caller), &CALL.replace("listAccounts", "transfer")),
            Flow::Pause
        );
        assert_eq!(world.reply().1["error"]["message"], "no");
        assert!(
            world.proxy.calls.borrow().is_empty(),
            "there is no token service"
        );
    }
}

/// A key that a caller's token is bound to.
struct Holder(Ed25519KeyPair);

impl Holder {
    fn new() -> Self {
        Self(Ed25519KeyPair::generate())
    }

    fn bound(&self, world: &World) -> String {
        let mut claims = World::caller_claims();
        claims["cnf"] = json!({"jkt": self.0.public_key().jwk_thumbprint()});
        world.sign(&claims)
    }

    fn proof(&self, token: &str, id: &str, changes: &Json) -> String {
        let jwk: Json = serde_json::from_str(&self.0.public_key().to_jwk()).unwrap();
        let hash = URL_SAFE_NO_PAD.encode(<sha2::Sha256 as sha2::Digest>::digest(token));
        let mut claims =
            json!({"jti": id, "htm": "POST", "htu": RESOURCE, "iat": NOW, "ath": hash});
        let changes = changes.as_object().unwrap().clone();
        claims.as_object_mut().unwrap().extend(changes);
        let header = json!({"typ": "dpop+jwt", "alg": "EdDSA", "jwk": jwk});
        let encode = |json: &Json| URL_SAFE_NO_PAD.encode(json.to_string());
        let input = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self.0.key_pair().as_ref().sk.sign(input.as_bytes(), None);
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}

impl World {
    /// Plays a request with a token presented like this, and maybe a proof.
    fn request_as(&mut self, authorization: &str, proof: Option<&str>) -> Flow {
        let own = [("authorization", Some(authorization)), ("dpop", proof)];
        let own = own
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        self.proxy.extra.replace(
            own.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
                .collect(),
        );
        self.proxy.replies.borrow_mut().clear();
        self.request(None, CALL)
    }

    /// The challenge of the one answer.
    fn challenge(&self) -> String {
        assert_eq!(self.reply().0, 401);
        let replies = self.proxy.replies.borrow();
        let header = replies[0]
            .headers
            .iter()
            .find(|(name, _)| *name == "www-authenticate");
        header.unwrap().1.clone()
    }
}

#[test]
fn a_bound_token_is_good_with_a_proof_that_the_service_gets_to_see_too() {
    let mut world = World::new();
    let holder = Holder::new();
    let token = holder.bound(&world);
    let proof = holder.proof(&token, "1", &json!({}));
    world.request_as(&format!("DPoP {token}"), Some(&proof));
    let form = world.form();
    assert_eq!(form["subject_token"], token);
    let context: Json = serde_json::from_str(&form["mcp_context"]).unwrap();
    assert_eq!(context["dpop_proof"], json!(proof));
    let minted = world.mint(&World::minted_claims(CALL));
    assert_eq!(world.proxy.resumed.get(), 1);
    let headers = world.proxy.headers.borrow().clone();
    assert_eq!(headers["authorization"], format!("Bearer {minted}"));
    assert!(!headers.contains_key("dpop"), "the proof goes no further");
}

#[test]
fn a_proof_is_good_once_in_a_worker() {
    let mut world = World::new();
    let holder = Holder::new();
    let token = holder.bound(&world);
    let scheme = format!("DPoP {token}");
    let proof = holder.proof(&token, "1", &json!({}));
    world.request_as(&scheme, Some(&proof));
    world.request_as(&scheme, Some(&proof));
    assert!(
        world.challenge().contains("used before"),
        "{}",
        world.challenge()
    );
    let next = holder.proof(&token, "2", &json!({}));
    let calls = world.calls();
    world.request_as(&scheme, Some(&next));
    assert_eq!(world.calls(), calls + 1);
}

#[test]
fn a_bound_token_is_worth_nothing_without_its_key() {
    let holder = Holder::new();
    let thief = Holder::new();
    let mut world = World::new();
    let token = holder.bound(&world);
    let other_token = world.caller();
    let good = |changes: Json| holder.proof(&token, "1", &changes);
    let dpop = format!("DPoP {token}");
    let bearer = format!("Bearer {token}");
    let cases = [
        (&bearer, None, "invalid_token"),
        (&bearer, Some(good(json!({}))), "invalid_token"),
        (&dpop, None, "invalid_dpop_proof"),
        (&dpop, Some("x".to_owned()), "invalid_dpop_proof"),
        (
            &dpop,
            Some(thief.proof(&token, "1", &json!({}))),
            "invalid_dpop_proof",
        ),
        (
            &dpop,
            Some(holder.proof(&other_token, "1", &json!({}))),
            "invalid_dpop_proof",
        ),
        (
            &dpop,
            Some(good(json!({"htm": "GET"}))),
            "invalid_dpop_proof",
        ),
        (
            &dpop,
            Some(good(json!({"htu": "https://gateway.example/wiki/mcp"}))),
            "invalid_dpop_proof",
        ),
        (
            &dpop,
            Some(good(json!({"iat": NOW - 66}))),
            "invalid_dpop_proof",
        ),
        (
            &dpop,
            Some(good(json!({"iat": NOW + 6}))),
            "invalid_dpop_proof",
        ),
    ];
    for (authorization, proof, error) in cases {
        let calls = world.calls();
        world.request_as(authorization, proof.as_deref());
        let challenge = world.challenge();
        assert!(challenge.starts_with("DPoP algs="), "{challenge}");
        assert!(
            challenge.contains(&format!("error=\"{error}\"")),
            "{challenge}"
        );
        assert!(challenge.contains("resource_metadata="), "{challenge}");
        assert_eq!(world.calls(), calls, "nothing is asked of the service");
    }
    world.assert_nothing_forwarded();
}

#[test]
fn a_token_without_a_key_gains_nothing_from_a_proof() {
    let holder = Holder::new();
    let mut world = World::new();
    let token = world.caller();
    let proof = holder.proof(&token, "1", &json!({}));
    world.request_as(&format!("DPoP {token}"), Some(&proof));
    assert!(world.challenge().contains("not bound to a key"));
}

#[test]
fn a_token_bound_in_another_way_is_not_taken_for_an_unbound_one() {
    let mut world = World::new();
    for cnf in [
        json!({"x5t#S256": "x"}),
        json!({"jkt": "x", "x5t#S256": "x"}),
        json!({"jkt": 1}),
        json!({}),
        json!("x"),
    ] {
        let mut claims = World::caller_claims();
        claims["cnf"] = cnf.clone();
        let token = world.sign(&claims);
        world.request_as(&format!("Bearer {token}"), None);
        assert_eq!(world.reply().0, 401, "{cnf}");
    }
    world.assert_nothing_forwarded();
}

/// A list that was asked for by alice, who is in `finance`, as it leaves the gateway in chunks of `chunk` bytes.
fn listed(content_type: &str, more: &[(&str, &str)], body: &str, chunk: usize) -> (World, String) {
    let mut world = World::new();
    let caller = world.caller();
    world.request(Some(&caller), LIST);
    world.mint(&World::discovery_claims());
    let shown = pass(&mut world, content_type, more, body, chunk);
    (world, shown)
}

/// Plays a response: what leaves the gateway, held bytes and all.
fn pass(
    world: &mut World,
    content_type: &str,
    more: &[(&str, &str)],
    body: &str,
    chunk: usize,
) -> String {
    let length = body.len().to_string();
    let mut headers = BTreeMap::from([
        (":status".to_owned(), "200".to_owned()),
        ("content-type".to_owned(), content_type.to_owned()),
        ("content-length".to_owned(), length),
    ]);
    headers.extend(more.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())));
    world.proxy.response.replace(headers);
    world
        .exchange
        .on_response_headers(&mut world.gateway, &world.proxy, false);
    world.proxy.body.borrow_mut().clear();
    let mut left = Vec::new();
    let chunks: Vec<&[u8]> = body.as_bytes().chunks(chunk).collect();
    for (at, bytes) in chunks.iter().enumerate() {
        world.proxy.body.borrow_mut().extend_from_slice(bytes);
        let size = world.proxy.body.borrow().len();
        let last = at + 1 == chunks.len();
        let flow = world
            .exchange
            .on_response_body(&mut world.gateway, &world.proxy, size, last);
        if flow == Flow::Continue {
            left.append(&mut world.proxy.body.borrow_mut());
        }
    }
    String::from_utf8(left).unwrap()
}

const TOOLS: &str = r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[{"name":"listAccounts","x":1.0},{"name":"transfer"},{"name":"getAccount"}],"ttlMs":60000,"cacheScope":"public"}}"#;
const SHOWN: &str = r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[{"name":"listAccounts","x":1.0},{"name":"getAccount"}],"ttlMs":1000,"cacheScope":"private"}}"#;

#[test]
fn a_list_shows_what_its_caller_may_call() {
    for chunk in [1, 10, 1000] {
        let (world, shown) = listed("application/json", &[], TOOLS, chunk);
        assert_eq!(shown, SHOWN);
        assert!(!world.proxy.response.borrow().contains_key("content-length"));
    }
}

#[test]
fn a_list_in_an_event_stream_shows_what_its_caller_may_call() {
    for chunk in [1, 10, 1000] {
        let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#;
        let stream = |list: &str| {
            format!(": hi\n\nid: 1\ndata:\n\ndata: {progress}\n\nevent: message\ndata: {list}\n\n")
        };
        let (_, shown) = listed("text/event-stream", &[], &stream(TOOLS), chunk);
        assert_eq!(shown, stream(SHOWN));
    }
}

impl World {
    /// A GET stream goes upstream.
    fn opens_stream(&mut self, caller: &str) {
        self.request(Some(caller), LIST);
        let mut headers = self.proxy.headers.borrow_mut();
        headers.extend(
            [(":method", "GET"), ("accept", "text/event-stream")]
                .map(|(n, v)| (n.into(), v.into())),
        );
        headers.remove("content-type");
        headers.insert("authorization".to_owned(), format!("Bearer {caller}"));
        drop(headers);
        self.exchange = Exchange::new(3);
        self.exchange
            .on_request_headers(&mut self.gateway, &self.proxy, true);
        self.mint(&World::discovery_claims());
    }
}

#[test]
fn a_list_that_is_delivered_again_on_a_stream_is_filtered_too() {
    let mut world = World::new();
    let caller = world.caller();
    world.opens_stream(&caller);
    let stream = format!("id: 4\ndata: {TOOLS}\n\n");
    let shown = pass(&mut world, "text/event-stream", &[], &stream, 50);
    assert_eq!(shown, format!("id: 4\ndata: {SHOWN}\n\n"));
}

#[test]
fn a_list_that_cannot_be_read_is_not_shown() {
    let long = format!(
        r#"{{"jsonrpc":"2.0","id":7,"result":{{"tools":[{{"name":"{}"}}]}}}}"#,
        "x".repeat(2 << 20)
    );
    let twice = r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[]},"result":{"tools":[{"name":"transfer"}]}}"#;
    for (content_type, more, body, told) in [
        (
            "application/json",
            vec![],
            long.as_str(),
            "larger than the limit",
        ),
        ("application/json", vec![], twice, "duplicate key"),
        (
            "application/json",
            vec![("content-encoding", "gzip")],
            TOOLS,
            "encoded",
        ),
        (
            "text/html",
            vec![],
            TOOLS,
            "neither JSON nor an event stream",
        ),
        ("text/event-stream", vec![], long.as_str(), "larger than"),
    ] {
        let (world, shown) = listed(content_type, &more, body, 500_000);
        assert!(shown.contains(told), "{content_type}: {shown:.200}");
        assert!(
            !shown.contains("transfer") && shown.len() < 1000,
            "{shown:.200}"
        );
        let json = shown
            .strip_prefix("event: message\ndata: ")
            .unwrap_or(&shown);
        let error: Json = serde_json::from_str(json).unwrap();
        assert_eq!(
            (&error["id"], &error["error"]["code"]),
            (&json!(7), &json!(502))
        );
        let stays = content_type == "text/event-stream";
        let now = world.proxy.response.borrow()["content-type"].clone();
        assert_eq!(now == "application/json", !stays, "{now}");
    }
}

#[test]
fn completion_is_for_what_the_caller_can_see() {
    let rego = "package writ\ncall := {`allow`: true}\nvisible := {`allow`: true} if input.mcp.prompt == `known`";
    let module = engine::Module {
        path: "policy.rego".to_owned(),
        text: rego.to_owned(),
    };
    let program = engine::compile(&[module]).unwrap().to_bytes().unwrap();
    let mut world = World::without_snapshot().with_snapshot(|snapshot| {
        snapshot["policy"]["program"]["program"] = json!(URL_SAFE_NO_PAD.encode(program));
    });
    let caller = world.caller();
    for (reference, asked) in [
        (json!({"type": "ref/prompt", "name": "known"}), true),
        (json!({"type": "ref/prompt", "name": "secret"}), false),
        (
            json!({"type": "ref/resource", "uri": "file:///{path}"}),
            false,
        ),
    ] {
        let message = json!({"jsonrpc": "2.0", "id": 7, "method": "completion/complete",
            "params": {"ref": reference, "argument": {"name": "a", "value": ""}}});
        world.request(Some(&caller), &message.to_string());
        let calls = world.proxy.calls.borrow();
        let (_, headers, _) = calls.last().unwrap();
        let path = if asked {
            "/oauth/token"
        } else {
            "/gateway/v1/events"
        };
        assert_eq!(headers[":path"], path, "{reference}");
        drop(calls);
        if !asked {
            assert_eq!(inputs::reported(&world), None, "another rule said no");
        }
    }
}
