//! Which trace a call belongs to, and who is told.

use writ_policy::event::Span;
use writ_policy::snapshot::SPANS;

use super::*;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";
const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const NEARER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00000000000000aa-01";
const PASSED_BY: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
const OTHER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const OWN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-0707070707070707-01";

/// The call, with this `_meta`.
fn call_with(meta: &Json) -> String {
    let call = json!({"jsonrpc": "2.0", "id": "seven", "method": "tools/call",
        "params": {"name": "listAccounts", "_meta": meta}});
    call.to_string()
}

impl World {
    /// A gateway whose token service takes spans, or does not.
    fn traced(spans: bool) -> Self {
        let world = Self::without_snapshot();
        world.proxy.random.set(Some([7; 32]));
        world.with_snapshot(|snapshot| {
            snapshot[SPANS] = json!(spans);
        })
    }

    /// The call goes all the way with these headers.
    fn pass_with(&mut self, headers: &[(&str, &str)], body: &str) {
        let headers = headers.iter();
        let headers = headers.map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()));
        self.proxy.extra.replace(headers.collect());
        let caller = self.caller();
        assert_eq!(self.request(Some(&caller), body), Flow::Pause);
        let claims = Self::minted_claims(body);
        self.mint(&claims);
    }

    /// What the token service was told with the last call, and the server with the request.
    fn passed_on(&self, name: &str) -> [Option<String>; 2] {
        let calls = self.proxy.calls.borrow();
        let (_, headers, _) = calls.last().unwrap();
        let upstream = self.proxy.request_headers().into_iter();
        let upstream = upstream.filter(|(other, _)| other == name);
        let values: Vec<_> = upstream
            .map(|(_, value)| String::from_utf8(value).unwrap())
            .collect();
        let value = Some(values.join(",")).filter(|value| !value.is_empty());
        [headers.get(name).cloned(), value]
    }

    fn spans(&mut self) -> Vec<Span> {
        self.gateway.on_tick(&self.proxy);
        let calls = self.proxy.calls.borrow();
        let (_, headers, body) = calls.last().unwrap();
        assert_eq!(headers[":path"], "/gateway/v1/events");
        serde_json::from_slice::<EventBatch>(body).unwrap().spans
    }

    fn told_of_trace(&mut self) -> Option<String> {
        match self.events().pop().unwrap() {
            Event::Outcome(outcome) => outcome.trace,
            Event::Denied(denied) => denied.call.trace,
            other => panic!("{other:?}"),
        }
    }
}

fn both(value: &str) -> [Option<String>; 2] {
    [Some(value.to_owned()), Some(value.to_owned())]
}

#[test]
fn a_call_is_a_span_of_the_trace_that_its_header_names() {
    let mut world = World::traced(true);
    let headers = [
        ("traceparent", SAMPLED),
        ("tracestate", "a=1"),
        ("tracestate", "b=2"),
    ];
    world.pass_with(&headers, &call_with(&json!({})));
    assert_eq!(world.passed_on("traceparent"), both(OWN));
    assert_eq!(world.passed_on("tracestate"), both("a=1,b=2"));
    world.proxy.later_s.set(2);
    world.exchange.on_end(&mut world.gateway, &world.proxy);
    let spans = world.spans();
    let [span] = spans.as_slice() else {
        panic!("{spans:?}")
    };
    assert_eq!((span.context.as_str(), span.parent.as_str()), (OWN, SPAN));
    assert_eq!(
        (&span.link, span.state.as_deref()),
        (&None, Some("a=1,b=2"))
    );
    assert_eq!(
        (span.start_us, span.duration_us),
        (NOW * 1_000_000, 2_000_000)
    );
    assert_eq!(
        (span.call.method.as_str(), span.call.target.as_deref()),
        ("tools/call", Some("listAccounts"))
    );
    assert_eq!(
        (span.call.server.as_str(), span.call.agent.as_str()),
        ("ledger", "assistant")
    );
    assert_eq!((span.id.as_deref(), span.status), (Some("seven"), None));
    assert_eq!(span.error.as_deref(), Some("cut_off"));
}

#[test]
fn a_message_that_names_a_trace_joins_it_and_is_not_changed() {
    let mut world = World::traced(true);
    let body = call_with(&json!({"traceparent": SAMPLED, "tracestate": "m=1"}));
    for (headers, link) in [
        (&[][..], None),
        // The proxy's own, which knows nothing of the message.
        (
            &[("traceparent", OTHER), ("tracestate", "h=1")],
            Some(OTHER),
        ),
    ] {
        world.pass_with(headers, &body);
        assert_eq!(world.passed_on("traceparent"), both(OWN));
        assert_eq!(world.passed_on("tracestate"), both("m=1"));
        assert_eq!(*world.proxy.body.borrow(), body.as_bytes());
        world.exchange.on_end(&mut world.gateway, &world.proxy);
        let span = world.spans().remove(0);
        assert_eq!((span.parent.as_str(), span.link.as_deref()), (SPAN, link));
        let sent = world.calls();
        world.answers(204, "");
        world.gateway.on_answer(sent, &world.proxy);
    }
}

#[test]
fn within_one_trace_the_header_names_the_nearer_span() {
    let mut world = World::traced(true);
    let body = call_with(&json!({"traceparent": SAMPLED, "tracestate": "m=1"}));
    world.pass_with(&[("traceparent", NEARER), ("tracestate", "h=1")], &body);
    assert_eq!(world.passed_on("tracestate"), both("h=1"));
    world.exchange.on_end(&mut world.gateway, &world.proxy);
    let span = world.spans().remove(0);
    assert_eq!(
        (span.parent.as_str(), span.link),
        ("00000000000000aa", None)
    );
}

#[test]
fn what_nobody_keeps_is_passed_on_as_it_came() {
    for (spans, sent) in [(true, PASSED_BY), (false, SAMPLED), (false, PASSED_BY)] {
        let mut world = World::traced(spans);
        world.pass_with(&[("traceparent", sent)], &call_with(&json!({})));
        assert_eq!(world.passed_on("traceparent"), both(sent), "{spans}");
        world.exchange.on_end(&mut world.gateway, &world.proxy);
        assert_eq!(world.spans(), [], "{spans}");
        // The server sees in the header what only the message said.
        let body = call_with(&json!({ "traceparent": sent }));
        world.pass_with(&[], &body);
        assert_eq!(world.passed_on("traceparent"), both(sent), "{spans}");
    }
}

#[test]
fn what_names_no_trace_is_dropped_and_the_call_goes_on() {
    let bad = &SAMPLED[..SAMPLED.len() - 1];
    for headers in [
        &[("traceparent", bad), ("tracestate", "a=1")][..],
        &[("traceparent", SAMPLED), ("traceparent", SAMPLED)],
        &[("tracestate", "a=1")],
    ] {
        for meta in [
            json!({ "traceparent": bad }),
            json!({ "traceparent": [SAMPLED] }),
        ] {
            let mut world = World::traced(true);
            world.pass_with(headers, &call_with(&meta));
            assert_eq!(world.passed_on("traceparent"), [None, None], "{headers:?}");
            assert_eq!(world.passed_on("tracestate"), [None, None], "{headers:?}");
            assert_eq!(world.proxy.resumed.get(), 1);
        }
    }
    let mut world = World::traced(true);
    let state = "x".repeat(600);
    let headers = [("traceparent", SAMPLED), ("tracestate", state.as_str())];
    world.pass_with(&headers, &call_with(&json!({})));
    assert_eq!(world.passed_on("traceparent"), both(OWN));
    assert_eq!(world.passed_on("tracestate"), [None, None]);
}

#[test]
fn a_denied_call_is_a_span_too_and_both_are_on_record_with_their_trace() {
    let mut world = World::traced(true);
    world.pass_with(&[("traceparent", PASSED_BY)], &call_with(&json!({})));
    world.exchange.on_end(&mut world.gateway, &world.proxy);
    assert_eq!(world.told_of_trace().as_deref(), Some(TRACE));

    let mut world = World::traced(true);
    let traced = ("traceparent".to_owned(), SAMPLED.as_bytes().to_vec());
    world.proxy.extra.replace(vec![traced]);
    let caller = world.caller();
    world.request(
        Some(&caller),
        &CALL.replace("listAccounts", "exportAuditReport"),
    );
    {
        let calls = world.proxy.calls.borrow();
        let batch: EventBatch = serde_json::from_slice(&calls.last().unwrap().2).unwrap();
        assert_eq!(batch.spans, [], "nobody waits for a span");
        let [Event::Denied(denied)] = batch.events.as_slice() else {
            panic!("{batch:?}")
        };
        assert_eq!(denied.call.trace.as_deref(), Some(TRACE));
    }
    world.answers(204, "");
    world.answered();
    let span = world.spans().remove(0);
    assert_eq!(
        (span.error.as_deref(), span.code),
        (Some("policy_denied"), Some(403))
    );
    assert_eq!((span.status, span.id.as_deref()), (Some(200), Some("7")));
}

#[test]
fn a_call_that_gets_no_token_is_a_span_and_who_is_nobody_makes_none() {
    let mut world = World::traced(true);
    let traced = ("traceparent".to_owned(), SAMPLED.as_bytes().to_vec());
    world.proxy.extra.replace(vec![traced]);
    let caller = world.caller();
    world.request(Some(&caller), CALL);
    world.answers(503, "");
    world.answered();
    let span = world.spans().remove(0);
    assert_eq!(
        (span.error.as_deref(), span.code),
        (Some("unavailable"), Some(503))
    );

    let mut world = World::traced(true);
    let traced = ("traceparent".to_owned(), SAMPLED.as_bytes().to_vec());
    world.proxy.extra.replace(vec![traced]);
    world.request(None, CALL);
    assert_eq!(world.reply().0, 401);
    assert_eq!(world.spans(), []);
}

#[test]
fn a_guard_tells_the_service_which_trace_it_asks_for() {
    let mut world = World::guard("");
    let traced = ("traceparent".to_owned(), SAMPLED.as_bytes().to_vec());
    world.proxy.extra.replace(vec![traced]);
    let mut claims = World::minted_claims(CALL);
    claims["iat"] = json!(NOW + 1);
    let token = world.sign(&claims);
    world.request(Some(&token), CALL);
    assert_eq!(world.passed_on("traceparent"), both(SAMPLED));
}
