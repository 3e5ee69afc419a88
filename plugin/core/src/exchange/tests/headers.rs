//! Headers that repeat what the body says, as far as a list of tools has told which arguments they repeat; and headers that
//! say where a request comes from and goes to.

use super::*;

const STATELESS: &str = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"listAccounts","arguments":{"region":"eu"},
    "_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;

impl World {
    /// Whether a stateless call with these headers beside its own goes on; how it is refused otherwise.
    fn calls_with(&mut self, caller: &str, more: &[(&str, &str)]) -> Option<(u32, bool)> {
        let own = [
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "tools/call"),
            ("mcp-name", "listAccounts"),
        ];
        let headers = own.iter().chain(more);
        self.proxy.extra.replace(
            headers
                .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
                .collect(),
        );
        self.request(Some(caller), STATELESS);
        self.recorded();
        let refused = self.proxy.replies.take().pop();
        refused.map(|reply| (reply.status, reply.body.contains("-32020")))
    }
}

#[test]
fn what_a_list_declared_is_held_against_the_calls_that_follow() {
    let mut world = World::new();
    let caller = world.caller();
    assert_eq!(world.calls_with(&caller, &[]), None, "nothing is known yet");

    world.proxy.extra.take();
    world.request(Some(&caller), LIST);
    world.mint(&World::discovery_claims());
    let list = r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[{"name":"listAccounts","inputSchema":{"type":"object",
        "properties":{"region":{"type":"string","x-mcp-header":"Region"}}}}]}}"#;
    pass(&mut world, "application/json", &[], list, 1000);
    for (headers, refused) in [
        (vec![], Some((400, true))),
        (vec![("mcp-param-region", "us")], Some((400, true))),
        (
            vec![("mcp-param-region", "eu"), ("mcp-param-other", "x")],
            None,
        ),
        (
            vec![("mcp-param-region", "eu"), ("mcp-param-region", "eu")],
            Some((400, true)),
        ),
    ] {
        assert_eq!(world.calls_with(&caller, &headers), refused, "{headers:?}");
    }
}

impl World {
    /// What a call with this header is answered; none when it goes on.
    fn refused_with(&mut self, name: &str, value: &str) -> Option<u32> {
        let caller = self.caller();
        let header = (name.to_owned(), value.as_bytes().to_vec());
        self.proxy.extra.replace(vec![header]);
        self.request(Some(&caller), CALL);
        self.proxy.replies.take().pop().map(|reply| reply.status)
    }
}

#[test]
fn a_page_of_another_origin_and_a_host_that_is_not_the_servers_are_kept_out() {
    let mut world = World::new();
    for (name, value, refused) in [
        ("origin", "https://gateway.example", None),
        ("origin", "https://evil.example", Some(403)),
        ("origin", "null", Some(403)),
        (":authority", "gateway.example:443", None),
        (":authority", "evil.example", Some(403)),
    ] {
        assert_eq!(world.refused_with(name, value), refused, "{value}");
    }
    let configuration = br#"{"mode":"gateway","token_service":{"cluster":"writ","gateway_id":"edge","secret_env":"S"},
        "allowed_origins":["https://app.example"],"allowed_hosts":["alias.example"]}"#;
    let gateway = Gateway::start(configuration, |_| Some(snapshots::secret())).unwrap();
    let mut world = World {
        gateway,
        ..World::without_snapshot()
    }
    .with_snapshot(|_| {});
    for (name, value, refused) in [
        ("origin", "https://app.example", None),
        ("origin", "https://evil.example", Some(403)),
        (":authority", "alias.example", None),
        (":authority", "evil.example", Some(403)),
    ] {
        assert_eq!(world.refused_with(name, value), refused, "{value}");
    }
}
