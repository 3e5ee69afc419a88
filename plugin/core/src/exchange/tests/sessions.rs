//! Sessions: sealed on the way to the client, opened on the way to the server.

use sha2::{Digest as _, Sha256};

use super::*;

const SESSION: &str = "mcp-session-id";
const INITIALIZE: &str =
    r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#;

impl World {
    /// The server answers the request at hand and names a session.
    fn server_names_session(&mut self, id: &str) -> Option<String> {
        self.proxy.response.replace(BTreeMap::from(
            [
                (":status", "200"),
                ("content-type", "application/json"),
                (SESSION, id),
            ]
            .map(|(n, v)| (n.to_owned(), v.to_owned())),
        ));
        self.exchange
            .on_response_headers(&mut self.gateway, &self.proxy, false);
        self.proxy.response.borrow().get(SESSION).cloned()
    }

    fn session_of(&mut self, caller: &str, id: &str) -> Option<String> {
        self.request(Some(caller), INITIALIZE);
        self.mint(&World::discovery_claims());
        self.server_names_session(id)
    }

    fn within(&self, session: &str) {
        let named = (SESSION.to_owned(), session.as_bytes().to_vec());
        self.proxy.extra.replace(vec![named]);
    }

    /// The session that a call of `caller` goes upstream with; none when it does not go.
    fn called_within(&mut self, caller: &str, session: &str) -> Option<String> {
        self.within(session);
        self.request(Some(caller), CALL);
        if !self.proxy.replies.borrow().is_empty() {
            return None;
        }
        self.mint(&World::minted_claims(CALL));
        self.proxy.headers.borrow().get(SESSION).cloned()
    }

    /// Without a token service.
    fn by_itself(mut self) -> Self {
        self.gateway = self.started_again();
        self
    }

    fn started_again(&self) -> Gateway {
        let mut jwk: Json = serde_json::from_str(&self.key.public_key().to_jwk()).unwrap();
        jwk["kid"] = json!("k");
        let configuration = json!({
            "mode": "static", "caller_token": "strip",
            "servers": {"ledger": {"path": "/ledger/mcp", "resource": RESOURCE}},
            "issuers": {"https://issuer.example": {"jwks": {"keys": [jwk]}}},
            "policy": {"rego": "package writ\ncall := {\"allow\": true}"},
        });
        Gateway::start(configuration.to_string().as_bytes(), |_| None).unwrap()
    }

    fn somebody_else(&self, claim: &str, value: &str) -> String {
        let mut claims = World::caller_claims();
        claims[claim] = json!(value);
        claims["jti"] = json!(value);
        self.sign(&claims)
    }
}

#[test]
fn a_client_knows_its_session_by_a_sealed_name() {
    let mut world = World::new();
    let caller = world.caller();
    let sealed = world.session_of(&caller, "server-session").unwrap();
    assert!(!sealed.contains("server-session"));
    assert_eq!(
        world.server_names_session("server-session"),
        Some(sealed.clone())
    );
    assert_eq!(
        world.called_within(&caller, &sealed).as_deref(),
        Some("server-session")
    );
}

#[test]
fn a_stolen_session_is_nothing_to_anybody_else_and_its_use_is_on_record() {
    let mut world = World::without_snapshot().with_snapshot(|snapshot| {
        snapshot["agents"]["other"] = json!({"status": "approved"});
    });
    let caller = world.caller();
    let sealed = world.session_of(&caller, "server-session").unwrap();
    for (token, session) in [
        (world.somebody_else("sub", "bob"), sealed.as_str()),
        (world.somebody_else("client_id", "other"), sealed.as_str()),
        (caller.clone(), "server-session"),
        (caller.clone(), ""),
    ] {
        world.within(session);
        assert_eq!(world.request(Some(&token), CALL), Flow::Pause);
        {
            let calls = world.proxy.calls.borrow();
            let (_, headers, body) = calls.last().unwrap();
            assert_eq!(headers[":path"], "/gateway/v1/events", "{session}");
            let batch: EventBatch = serde_json::from_slice(body).unwrap();
            let [Event::Denied(denied)] = batch.events.as_slice() else {
                panic!("{batch:?}")
            };
            assert_eq!(denied.cause, DenialCause::Session);
        }
        world.answers(204, "");
        world.answered();
        let (status, body) = world.reply();
        assert_eq!(
            (status, &body["id"], &body["error"]["data"]["type"]),
            (404, &json!(7), &json!("unknown_session"))
        );
        world.proxy.replies.take();
    }
    assert_eq!(
        world.called_within(&caller, &sealed).as_deref(),
        Some("server-session")
    );
}

#[test]
fn policies_know_a_session_by_a_name_that_is_of_no_use() {
    let mut world = World::new();
    let caller = world.caller();
    let sealed = world.session_of(&caller, "server-session").unwrap();
    let mut name = || {
        world.within(&sealed);
        world.request(Some(&caller), CALL);
        let context: Json = serde_json::from_str(&world.form()["mcp_context"]).unwrap();
        context["session"].as_str().unwrap().to_owned()
    };
    let first = name();
    assert_eq!(first.len(), 32);
    assert!(!sealed.contains(&first) && first != "server-session");
    assert_eq!(name(), first);
}

#[test]
fn the_trail_names_a_session_as_policies_do_by_a_digest_of_what_the_client_has() {
    let mut world = World::new();
    let caller = world.caller();
    let sealed = world.session_of(&caller, "server-session").unwrap();
    let digest = Sha256::digest(&sealed);
    let name: String = digest.iter().take(16).map(|b| format!("{b:02x}")).collect();
    world.exchange.on_end(&mut world.gateway, &world.proxy);
    let begun = match world.events().pop() {
        Some(Event::Outcome(outcome)) => outcome.session,
        other => panic!("{other:?}"),
    };
    assert_eq!(begun.as_ref(), Some(&name));
    let refused = |world: &mut World| {
        let forbidden = CALL.replace("listAccounts", "dropEverything");
        world.request(Some(&caller), &forbidden);
        match world.events().pop() {
            Some(Event::Denied(denied)) => denied.call.session,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused(&mut world), None);
    world.within(&sealed);
    assert_eq!(refused(&mut world), Some(name));
}

#[test]
fn a_stateless_request_names_no_session_to_the_server() {
    let mut world = World::new();
    let caller = world.caller();
    let sealed = world.session_of(&caller, "server-session").unwrap();
    world.within(&sealed);
    for (name, value) in [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "listAccounts"),
    ] {
        let header = (name.to_owned(), value.as_bytes().to_vec());
        world.proxy.extra.borrow_mut().push(header);
    }
    let call = CALL.replace(
        "\"name\"",
        r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}},"name""#,
    );
    world.request(Some(&caller), &call);
    world.mint(&World::minted_claims(&call));
    assert_eq!(world.proxy.resumed.get(), 1 + 1);
    assert!(!world.proxy.headers.borrow().contains_key(SESSION));
    assert!(
        world
            .proxy
            .extra
            .borrow()
            .iter()
            .all(|(name, _)| name != SESSION)
    );
}

#[test]
fn what_is_no_session_id_is_kept_from_the_client() {
    for id in ["", "a b", "\u{e9}"] {
        let mut world = World::new();
        let caller = world.caller();
        assert_eq!(world.session_of(&caller, id), None, "{id}");
    }
}

#[test]
fn without_a_token_service_the_workers_of_a_proxy_open_each_others_sessions() {
    let mut world = World::without_snapshot().by_itself();
    world.proxy.random.set(Some([1; 32]));
    world.gateway.on_tick(&world.proxy);
    let caller = world.caller();
    world.request(Some(&caller), INITIALIZE);
    let sealed = world.server_names_session("server-session").unwrap();
    assert!(!sealed.contains("server-session"));

    // Another worker.
    let mut world = World {
        gateway: world.started_again(),
        ..world
    };
    world.within(&sealed);
    world.request(Some(&caller), CALL);
    assert_eq!(world.reply().0, 503, "it has no key yet");
    world.proxy.replies.take();
    world.proxy.random.set(Some([2; 32]));
    world.gateway.on_tick(&world.proxy);
    world.within(&sealed);
    assert_eq!(world.request(Some(&caller), CALL), Flow::Continue);
    assert_eq!(world.proxy.headers.borrow()[SESSION], "server-session");
    let bob = world.somebody_else("sub", "bob");
    world.within(&sealed);
    world.request(Some(&bob), CALL);
    assert_eq!(world.reply().0, 404);
}
