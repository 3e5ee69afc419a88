//! A request's life where agents' traffic leaves.

use writ_policy::event::ShadowServer;

use super::*;

const HOST: &str = "mcp.example.com";
const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":7,"method":"initialize","params":{"protocolVersion":"2025-11-25","clientInfo":{"name":"agent","version":"1"}}}"#;

impl World {
    fn egress(unknown: &str) -> Self {
        Self::configured(
            format!(
                r#"{{"mode": "egress", "unknown": "{unknown}", "token_service": {{"cluster": "writ", "gateway_id": "out",
                    "secret_env": "S"}}}}"#
            )
            .as_bytes(),
        )
    }

    /// Who knows the ledger, at the gateway and behind it.
    fn with_registry(self) -> Self {
        self.with_snapshot(|snapshot| {
            let ledger = &mut snapshot["servers"]["ledger"];
            ledger["upstream"] = json!("https://ledger.internal/mcp");
        })
    }

    fn leaves(&mut self, http: &str, authority: &str, more: &[(&str, &str)], is_all: bool) -> Flow {
        let path = "/mcp?api_key=secret";
        let own = [
            (":method", http),
            (":authority", authority),
            (":path", path),
            ("content-type", "application/json; charset=utf-8"),
            ("authorization", "Bearer secret"),
            ("user-agent", "sdk/2"),
            ("x-request-id", "req-1"),
        ];
        let all = own.iter().chain(more);
        self.proxy.headers.replace(
            all.map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect(),
        );
        self.exchange = Exchange::new(2);
        self.exchange
            .on_request_headers(&mut self.gateway, &self.proxy, is_all)
    }

    /// A piece of the body comes.
    fn piece(&mut self, bytes: &[u8], is_last: bool) -> Flow {
        self.proxy.body.replace(bytes.to_vec());
        self.exchange
            .on_request_body(&mut self.gateway, &self.proxy, bytes.len(), is_last)
    }

    fn shadows(&mut self) -> Vec<ShadowServer> {
        let shadow = |event| match event {
            Event::ShadowServer(shadow) => shadow,
            other => panic!("{other:?}"),
        };
        self.events().into_iter().map(shadow).collect()
    }
}

#[test]
fn mcp_to_an_unknown_server_passes_and_is_told_of() {
    let mut world = World::egress("record").with_registry();
    assert_eq!(world.leaves("POST", HOST, &[], false), Flow::Continue);
    let (one, other) = INITIALIZE.as_bytes().split_at(20);
    assert_eq!(world.piece(one, false), Flow::Continue, "nothing waits");
    assert_eq!(world.piece(other, true), Flow::Continue);
    assert!(world.proxy.replies.borrow().is_empty());
    let shadows = world.shadows();
    let [shadow] = shadows.as_slice() else {
        panic!("{shadows:?}")
    };
    assert_eq!((&*shadow.host, &*shadow.path), (HOST, "/mcp"));
    assert_eq!(shadow.method.as_deref(), Some("initialize"));
    assert_eq!(shadow.client.as_deref(), Some("agent/1"));
    assert_eq!(shadow.user_agent.as_deref(), Some("sdk/2"));
    assert_eq!((&*shadow.source_ip, shadow.refused), ("2001:db8::1", false));
    let told = format!("{shadow:?}");
    assert!(!told.contains("secret"), "{told}");
}

#[test]
fn without_a_service_everything_passes_or_what_is_unknown_is_refused() {
    let mut world = World::egress("record");
    world.leaves("POST", HOST, &[], false);
    assert_eq!(world.piece(INITIALIZE.as_bytes(), true), Flow::Continue);
    let mut world = World::egress("refuse");
    assert_eq!(
        world.leaves("POST", "ledger.internal", &[], false),
        Flow::Pause
    );
    assert_eq!(world.piece(INITIALIZE.as_bytes(), true), Flow::Pause);
    assert_eq!(world.reply().0, 200);
}

#[test]
fn mcp_to_an_unknown_server_is_refused_where_that_is_configured() {
    let mut world = World::egress("refuse").with_registry();
    assert_eq!(world.leaves("POST", HOST, &[], false), Flow::Pause);
    assert_eq!(world.piece(INITIALIZE.as_bytes(), true), Flow::Pause);
    let (status, reply) = world.reply();
    assert_eq!((status, &reply["id"]), (200, &json!(7)));
    assert_eq!(reply["error"]["data"]["type"], "server_not_registered");
    let message = reply["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("writ rogue adopt mcp.example.com/mcp"),
        "{message}"
    );
    // Nothing more of it passes.
    assert_eq!(world.piece(b"more", true), Flow::Pause);
    let shadows = world.shadows();
    assert!(shadows[0].refused);

    let mut world = World::egress("refuse").with_registry();
    let stream = [("mcp-session-id", "s"), ("accept", "text/event-stream")];
    assert_eq!(world.leaves("GET", HOST, &stream, true), Flow::Pause);
    assert_eq!(world.reply().0, 403, "nobody waits for a JSON-RPC answer");
    assert_eq!(world.shadows()[0].method.as_deref(), Some("stream/open"));
}

#[test]
fn registered_servers_are_never_refused_and_told_of_only_past_their_gateway() {
    for unknown in ["record", "refuse"] {
        let mut world = World::egress(unknown).with_registry();
        for (authority, told) in [("gateway.example", 0), ("LEDGER.internal:443", 1)] {
            let path = match told {
                0 => "/ledger/mcp",
                _ => "/mcp",
            };
            assert_eq!(
                world.leaves("POST", authority, &[(":path", path)], false),
                Flow::Continue
            );
            assert_eq!(world.piece(CALL.as_bytes(), true), Flow::Continue);
            assert_eq!(world.gateway.stats.shadow_servers, told);
        }
    }
}

#[test]
fn what_is_no_mcp_is_neither_held_nor_changed() {
    let graphql = br#"{"query":"{ tools }"}"#;
    for unknown in ["record", "refuse"] {
        let mut world = World::egress(unknown).with_registry();
        for (http, more) in [
            ("GET", [("accept", "text/html")]),
            ("POST", [("content-type", "multipart/form-data")]),
            ("POST", [("content-type", "application/octet-stream")]),
            ("POST", [("content-encoding", "gzip")]),
            ("CONNECT", [("content-type", "application/json")]),
        ] {
            let flow = world.leaves(http, HOST, &more, false);
            assert_eq!(flow, Flow::Continue, "{http} {more:?}");
            for piece in [&b"{\"jsonrpc\":\"2.0\",\"method\":\"tools/list\""[..], b"}"] {
                assert_eq!(world.piece(piece, piece == b"}"), Flow::Continue);
            }
        }
        world.leaves("POST", HOST, &[], false);
        assert_eq!(world.piece(graphql, true), Flow::Continue);
        // A large upload goes on as soon as enough of it has come.
        world.leaves("POST", HOST, &[], false);
        let mut upload = b"{\"data\":\"".to_vec();
        upload.resize(16 * 1024, b'x');
        assert_eq!(world.piece(&upload, false), Flow::Continue);
        assert_eq!(world.piece(&upload, true), Flow::Continue);
        // And what cannot be JSON-RPC at once.
        world.leaves("POST", HOST, &[], false);
        assert_eq!(world.piece(b"x", false), Flow::Continue);
        assert_eq!(world.gateway.stats.shadow_servers, 0);
        assert!(world.proxy.replies.borrow().is_empty());
    }
}

#[test]
fn a_message_is_seen_however_it_is_cut() {
    for size in [1, 2, 3, 7, 50, 1000] {
        let mut world = World::egress("refuse").with_registry();
        world.leaves("POST", HOST, &[], false);
        let mut so_far = Vec::new();
        let pieces = INITIALIZE.as_bytes().chunks(size);
        let last = pieces.len();
        for (n, piece) in pieces.enumerate() {
            // What is held comes together.
            so_far.extend_from_slice(piece);
            let flow = world.piece(&so_far.clone(), n + 1 == last);
            assert_eq!(flow, Flow::Pause, "{size}");
        }
        assert_eq!(world.reply().1["id"], 7);

        let mut world = World::egress("record").with_registry();
        world.leaves("POST", HOST, &[], false);
        for (n, piece) in INITIALIZE.as_bytes().chunks(size).enumerate() {
            assert_eq!(world.piece(piece, n + 1 == last), Flow::Continue);
        }
        assert_eq!(world.gateway.stats.shadow_servers, 1, "{size}");
    }
}

#[test]
fn headers_tell_what_the_body_does_not() {
    let mut world = World::egress("record").with_registry();
    let headers = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "getBalance"),
        ("content-encoding", "gzip"),
    ];
    assert_eq!(world.leaves("POST", HOST, &headers, false), Flow::Continue);
    assert_eq!(world.piece(b"\x1f\x8b", true), Flow::Continue);
    let shadows = world.shadows();
    assert_eq!(shadows[0].method.as_deref(), Some("tools/call"));
    assert_eq!(shadows[0].target.as_deref(), Some("getBalance"));
    // Trailers end a body, too.
    world.leaves("POST", HOST, &headers[..2], false);
    world.piece(b"{", false);
    let flow = world
        .exchange
        .on_request_trailers(&mut world.gateway, &world.proxy);
    assert_eq!(flow, Flow::Continue);
    assert_eq!(world.gateway.stats.shadow_servers, 2);
}
