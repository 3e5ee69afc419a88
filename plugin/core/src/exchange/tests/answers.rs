//! The way back: what of an answer the caller gets, and what is put on record about it.

use writ_policy::event::Outcome;

use super::*;

const RESULT: &str = r#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"card 4111 1111 1111 1111"}], "n":12345678901234567890}}"#;
const MASKED: &str = r#"{"jsonrpc":"2.0","id":7,"result":{"_meta":{"writ/masked":{"card_number":1}},"content":[{"type":"text","text":"card [card number]"}], "n":12345678901234567890}}"#;
const MASKS: &str = "package writ\ncall := {`allow`: true}\nresult := {`allow`: true, `mask`: [`card_numbers`]} if input.mcp.tool == `listAccounts`";

const NOTED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

impl World {
    /// With this policy in place of the library.
    pub(super) fn of(rego: &str) -> Self {
        let module = engine::Module {
            path: "policy.rego".to_owned(),
            text: rego.to_owned(),
        };
        let program = engine::compile(&[module]).unwrap().to_bytes().unwrap();
        Self::without_snapshot().with_snapshot(|snapshot| {
            snapshot["policy"]["program"]["program"] = json!(URL_SAFE_NO_PAD.encode(program));
        })
    }

    /// A request that has gone upstream.
    pub(super) fn sent(mut self, message: &str) -> Self {
        let caller = self.caller();
        self.request(Some(&caller), message);
        let sent: Json = serde_json::from_str(message).unwrap();
        let looks_around = matches!(sent["method"].as_str(), Some("ping" | "tools/list"));
        let claims = if looks_around || sent.get("id").is_none() {
            Self::discovery_claims()
        } else {
            let mut claims = Self::minted_claims(message);
            claims["authorization_details"][0]["target"] = sent["params"]["name"].clone();
            claims
        };
        self.mint(&claims);
        assert_eq!(self.proxy.resumed.get(), 1);
        self
    }

    /// What leaves the gateway of an answer, the same at any chunk boundary.
    fn answered_with(make: impl Fn() -> Self, content_type: &str, body: &str) -> (Self, String) {
        let (mut world, mut shown) = (make(), String::new());
        for chunk in [1, 7, 1 << 20] {
            world = make();
            let left = pass(&mut world, content_type, &[], body, chunk);
            assert!(shown.is_empty() || shown == left, "{left}");
            shown = left;
        }
        (world, shown)
    }

    /// The answer's headers come.
    pub(super) fn begins(&mut self, content_type: &str) {
        let headers = [(":status", "200"), ("content-type", content_type)];
        let headers = headers.map(|(n, v)| (n.to_owned(), v.to_owned()));
        self.proxy.response.replace(BTreeMap::from(headers));
        self.exchange
            .on_response_headers(&mut self.gateway, &self.proxy, false);
    }

    fn outcome(&mut self) -> Outcome {
        self.exchange.on_end(&mut self.gateway, &self.proxy);
        let mut events = self.events();
        match events.pop() {
            Some(Event::Outcome(outcome)) => outcome,
            other => panic!("{other:?}"),
        }
    }
}

fn event(data: &str) -> String {
    format!("event: message\nid: 1\ndata: {data}\n\n")
}

/// The JSON-RPC error that a caller got.
fn error_in(shown: &str) -> Json {
    let message = shown
        .lines()
        .find_map(|line| line.strip_prefix("data: "))
        .unwrap_or(shown);
    let message: Json = serde_json::from_str(message).unwrap();
    assert!(message.get("result").is_none(), "{message}");
    message["error"].clone()
}

/// The events whose data is JSON.
fn messages_in(shown: &str) -> Vec<Json> {
    let shown = shown.replace("\r\n", "\n").replace('\r', "\n");
    let data = shown.split_terminator("\n\n").map(|event| {
        let lines = event.lines().filter_map(|line| line.strip_prefix("data: "));
        lines.collect::<Vec<_>>().join("\n")
    });
    data.filter_map(|data| serde_json::from_str(&data).ok())
        .collect()
}

#[test]
fn an_answer_that_nobody_wants_changed_leaves_as_it_came() {
    let make = || World::new().sent(CALL);
    for body in [
        RESULT,
        TOOLS,
        "{\"jsonrpc\":\"2.0\",\"id\":7,\"error\":{\"code\":-1,\"message\":\"\"}}",
    ] {
        let (mut world, shown) = World::answered_with(make, "application/json", body);
        assert_eq!(shown, body);
        let digest = content_digest(body.as_bytes());
        assert_eq!(
            world.outcome().result_digest.as_deref(),
            Some(digest.as_str())
        );
        let stream = format!(": hi\n\nevent: ping\ndata: 12:00\n\n{}", event(body));
        let (mut world, shown) = World::answered_with(make, "text/event-stream", &stream);
        assert_eq!(shown, stream);
        assert_eq!(
            world.outcome().result_digest.as_deref(),
            Some(digest.as_str())
        );
    }
}

#[test]
fn how_a_call_ended_is_told_from_what_passed_and_from_who_ended_it() {
    const LEFT: u64 = 1 << 14;
    const RESET: u64 = 1 << 4;
    const TIMEOUT: u64 = 1 << 2;
    const IDLE: u64 = 1 << 16;
    let result = |result: &str| format!(r#"{{"jsonrpc":"2.0","id":7,"result":{result}}}"#);
    let progress = event(r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#);
    let (json, stream) = ("application/json", "text/event-stream");
    for (content_type, body, flags, expected) in [
        (json, result("{}"), 0, CallResult::Ok),
        (
            json,
            result(r#"{"isError":true}"#),
            0,
            CallResult::ToolError,
        ),
        (json, result(r#"{"isError":false}"#), 0, CallResult::Ok),
        (
            json,
            result(r#"{"resultType":"complete"}"#),
            0,
            CallResult::Ok,
        ),
        (
            json,
            result(r#"{"resultType":"input_required"}"#),
            0,
            CallResult::InputRequired,
        ),
        (
            json,
            result(r#"{"resultType":"task","taskId":"1"}"#),
            0,
            CallResult::Task,
        ),
        (
            json,
            result(r#"{"task":{"taskId":"1"}}"#),
            0,
            CallResult::Task,
        ),
        (
            json,
            r#"{"id":7,"error":{"code":1}}"#.to_owned(),
            0,
            CallResult::ProtocolError,
        ),
        (json, "nonsense".to_owned(), 0, CallResult::Withheld),
        (stream, event(&result("{}")), 0, CallResult::Ok),
        // A caller that has its result may close the stream without waiting for the server to.
        (stream, event(&result("{}")), LEFT, CallResult::Ok),
        (stream, progress.clone(), 0, CallResult::CutOff),
        (stream, progress.clone(), LEFT, CallResult::Cancelled),
        (stream, progress.clone(), RESET, CallResult::CutOff),
        (stream, progress.clone(), IDLE, CallResult::TimedOut),
        ("text/plain", "ok".to_owned(), 0, CallResult::Withheld),
        // The answer to another request is not this one's.
        (
            stream,
            event(&result("{}").replace('7', "8")),
            0,
            CallResult::Withheld,
        ),
    ] {
        let mut world = World::new().sent(CALL);
        pass(&mut world, content_type, &[], &body, 1 << 20);
        world.proxy.flags.set(flags);
        let outcome = world.outcome();
        assert_eq!(outcome.result, expected, "{content_type} {body} {flags}");
        let answered = !matches!(
            expected,
            CallResult::CutOff | CallResult::Cancelled | CallResult::TimedOut
        );
        assert_eq!(outcome.result_digest.is_some(), answered, "{body}");
    }
    // A notification that was accepted.
    let mut world = World::new().sent(NOTED);
    world
        .proxy
        .response
        .replace(BTreeMap::from([(":status".to_owned(), "202".to_owned())]));
    world
        .exchange
        .on_response_headers(&mut world.gateway, &world.proxy, true);
    let accepted = world.outcome();
    assert_eq!(
        (accepted.result, accepted.result_digest),
        (CallResult::Ok, None)
    );
    // Nobody waits for an answer on a GET stream.
    let mut world = World::new();
    let caller = world.caller();
    world.opens_stream(&caller);
    pass(&mut world, "text/event-stream", &[], &progress, 1 << 20);
    world.proxy.flags.set(LEFT);
    assert_eq!(world.outcome().result, CallResult::Ok);
    let mut world = World::new().sent(CALL);
    world.proxy.flags.set(LEFT);
    assert_eq!(world.outcome().result, CallResult::Cancelled);
    // The proxy's own answers.
    for (status, flags, expected) in [
        ("502", 0, CallResult::HttpError),
        ("504", TIMEOUT, CallResult::TimedOut),
    ] {
        let mut world = World::new().sent(CALL);
        pass(&mut world, "text/plain", &[(":status", status)], "no", 10);
        world.proxy.flags.set(flags);
        assert_eq!(world.outcome().result, expected);
    }
}

#[test]
fn what_the_proxy_does_not_hand_over_or_replace_is_not_shown() {
    let large = RESULT.replace("card", &"x".repeat(1 << 20));
    let asks = large.replace(r#""n":1"#, r#""inputRequests":{},"n":1"#);
    let (json, stream) = ("application/json", "text/event-stream");
    let masks = || World::of(MASKS).sent(CALL);
    type Case<'a> = (&'a dyn Fn() -> World, &'a str, String, Breaks);
    let cases: [Case<'_>; 10] = [
        (&masks, json, RESULT.to_owned(), Breaks::Reading),
        (&masks, json, RESULT.to_owned(), Breaks::ReadingAll),
        (&masks, json, RESULT.to_owned(), Breaks::Writing),
        (&masks, stream, event(RESULT), Breaks::Reading),
        (&masks, stream, event(RESULT), Breaks::ReadingAll),
        (&masks, stream, event(RESULT), Breaks::Writing),
        (&masks, json, large.clone(), Breaks::Writing),
        (
            &|| World::new().sent(CALL),
            json,
            large.clone(),
            Breaks::Reading,
        ),
        (&|| World::new().sent(CALL), json, asks, Breaks::Writing),
        (&masks, "text/plain", RESULT.to_owned(), Breaks::Writing),
    ];
    for (make, content_type, body, breaks) in cases {
        for chunk in [7000, 1 << 22] {
            let mut world = make();
            world.proxy.breaks.set(Some(breaks));
            let shown = pass(&mut world, content_type, &[], &body, chunk);
            let case = format!("{content_type} {breaks:?}");
            let replies = world.proxy.replies.take();
            if breaks == Breaks::Writing {
                assert_eq!(replies.len(), 1, "{case}: the proxy is told to end it");
                assert!(replies[0].body.contains("did not replace"), "{case}");
            } else {
                assert_eq!(replies.len(), 0, "{case}");
                let told = shown.is_empty() || shown.contains("did not hand over");
                assert!(told, "{case}");
            }
            assert!(!shown.contains("4111"), "{case}");
            let outcome = world.outcome();
            assert_eq!(outcome.result, CallResult::Withheld, "{case}");
        }
    }
}

#[test]
fn what_is_held_when_trailers_come_is_looked_at_or_not_shown() {
    for breaks in [None, Some(Breaks::Reading), Some(Breaks::Writing)] {
        let mut world = World::of(MASKS).sent(CALL);
        world.begins("application/json");
        world.proxy.body.replace(RESULT.as_bytes().to_vec());
        let (gateway, proxy) = (&mut world.gateway, &world.proxy);
        let held = world
            .exchange
            .on_response_body(gateway, proxy, RESULT.len(), false);
        assert_eq!(held, Flow::Pause);
        proxy.breaks.set(breaks);
        let flow = world.exchange.on_response_trailers(gateway, proxy);
        let body = String::from_utf8(world.proxy.body.take()).unwrap();
        match breaks {
            None => assert_eq!((flow, body.as_str()), (Flow::Continue, MASKED)),
            Some(Breaks::Writing) => assert_eq!(flow, Flow::Pause),
            Some(_) => assert!(!body.contains("4111") && flow == Flow::Continue, "{body}"),
        }
        let withheld = world.outcome().result == CallResult::Withheld;
        assert_eq!(withheld, breaks.is_some());
    }
}

#[test]
fn a_policy_masks_results_and_says_so() {
    let make = || World::of(MASKS).sent(CALL);
    let (mut world, shown) = World::answered_with(make, "application/json", RESULT);
    assert_eq!(shown, MASKED);
    let outcome = world.outcome();
    assert_eq!(
        outcome.masked,
        BTreeMap::from([("card_number".to_owned(), 1)])
    );
    assert_eq!(outcome.result, CallResult::Ok);
    assert_eq!(
        outcome.result_digest,
        Some(content_digest(MASKED.as_bytes()))
    );
    let (_, shown) = World::answered_with(make, "text/event-stream", &event(RESULT));
    assert_eq!(shown, event(MASKED));
    // What it claims to be masked already is not left to the server.
    let claims = RESULT.replace(
        r#""result":{"#,
        r#""result":{"_meta":{"writ/masked":{},"x":1},"#,
    );
    let (_, shown) = World::answered_with(make, "application/json", &claims);
    assert!(
        shown.contains(r#""_meta":{"writ/masked":{"card_number":1},"x":1},"content""#),
        "{shown}"
    );
    // A rule that does not apply lets the result pass.
    let other = CALL.replace("listAccounts", "getAccount");
    let (_, shown) =
        World::answered_with(|| World::of(MASKS).sent(&other), "application/json", RESULT);
    assert_eq!(shown, RESULT);
}

#[test]
fn what_a_policy_withholds_or_fails_on_is_an_error_with_its_reason() {
    for (rule, told) in [
        (
            "result := {`allow`: false, `reason`: `too much`}",
            "too much",
        ),
        (
            "result := {`allow`: true, `mask`: [`all`]}",
            "nothing is known to mask as `all`",
        ),
        (
            "result := 1",
            "the policy's answer about the result is none",
        ),
        (
            "result := {`allow`: n > 0} if { n := count([1 | some i in numbers.range(1, 300); some j in numbers.range(1, 300); i + j > 0]) }",
            "took more than",
        ),
    ] {
        let rego = format!("package writ\ncall := {{`allow`: true}}\n{rule}");
        for (content_type, body) in [
            ("application/json", RESULT.to_owned()),
            ("text/event-stream", event(RESULT)),
        ] {
            let make = || World::of(&rego).sent(CALL);
            let (mut world, shown) = World::answered_with(make, content_type, &body);
            let error = error_in(&shown);
            assert_eq!(error["code"], 403, "{rule}");
            assert_eq!(error["data"]["type"], "result_withheld", "{rule}");
            assert!(error["message"].as_str().unwrap().contains(told), "{error}");
            let outcome = world.outcome();
            assert_eq!(outcome.result, CallResult::Withheld);
            assert!(outcome.reason.unwrap().contains(told));
        }
    }
}

#[test]
fn a_result_too_large_to_be_looked_at_passes_only_where_the_policy_says_so() {
    let large = RESULT.replace("card", &"x".repeat(1 << 20));
    for (rule, passes) in [
        ("", true),
        ("result := {`allow`: true}", true),
        ("result := {`allow`: true} if input.result == null", true),
        ("result := {`allow`: true, `mask`: [`secrets`]}", false),
        ("result := {`allow`: true} if input.result.isError", false),
        (
            "result := {`allow`: true} if input.mcp.tool == `other`",
            false,
        ),
    ] {
        let rego = format!("package writ\ncall := {{`allow`: true}}\n{rule}");
        let mut world = World::of(&rego).sent(CALL);
        let shown = pass(&mut world, "application/json", &[], &large, 60_000);
        let outcome = world.outcome();
        if passes {
            assert!(shown == large, "{rule}");
            assert_eq!(outcome.result, CallResult::Ok, "{rule}");
            assert_eq!(
                outcome.result_digest,
                Some(content_digest(large.as_bytes()))
            );
        } else {
            assert!(
                error_in(&shown)["message"]
                    .as_str()
                    .unwrap()
                    .contains("limits.result")
            );
            assert_eq!(outcome.result, CallResult::Withheld, "{rule}");
        }
    }
}

#[test]
fn a_large_answer_passes_unheld_unless_it_is_no_plain_result() {
    let large = RESULT.replace("card", &"x".repeat(2 << 20));
    for (content_type, body) in [
        ("application/json", large.clone()),
        ("text/event-stream", event(&large)),
    ] {
        let mut world = World::new().sent(CALL);
        assert!(pass(&mut world, content_type, &[], &body, 60_000) == body);
        let outcome = world.outcome();
        assert_eq!(outcome.result, CallResult::Ok);
        assert_eq!(
            outcome.result_digest,
            Some(content_digest(large.as_bytes()))
        );
    }
    // A policy that wants to see results has to be able to.
    let mut world = World::of(MASKS).sent(CALL);
    let shown = pass(&mut world, "text/event-stream", &[], &event(&large), 60_000);
    assert!(
        error_in(&shown)["message"]
            .as_str()
            .unwrap()
            .contains("larger than")
    );
    for asks in [
        large.replace(
            r#""n":1"#,
            r#""inputRequests":{"a":{"method":"sampling/createMessage"}},"n":1"#,
        ),
        large.replace(
            r#""n":12345678901234567890}"#,
            r#""n":1},"method":"sampling/createMessage""#,
        ),
    ] {
        let mut world = World::new().sent(CALL);
        let shown = pass(&mut world, "application/json", &[], &asks, 60_000);
        assert!(shown.len() < asks.len() && !shown.contains("createMessage"));
        assert!(serde_json::from_str::<Json>(&shown).is_err());
        assert_eq!(world.outcome().result, CallResult::Withheld);
    }
}

#[test]
fn of_a_long_event_that_is_no_plain_result_no_reader_gets_a_message() {
    let large = RESULT.replace("card", &"x".repeat(2 << 20));
    let asks = large.replace(
        r#""n":12345678901234567890}"#,
        r#""n":1},"method":"sampling/createMessage""#,
    );
    for (end, data) in [
        ("\n", asks.clone()),
        ("\r\n", asks.clone()),
        ("\r", asks.clone()),
        // It turns out before the last bytes.
        ("\n", format!("{asks}{}", " ".repeat(9000))),
    ] {
        for chunk in [60_000, 1 << 22] {
            let mut world = World::new().sent(CALL);
            let stream = format!("data: {data}{end}{end}");
            let shown = pass(&mut world, "text/event-stream", &[], &stream, chunk);
            assert_eq!(messages_in(&shown).len(), 1, "{end:?}");
            assert!(shown.contains("is no plain result"));
            assert_eq!(world.outcome().result, CallResult::Withheld);
        }
    }
}

#[test]
fn what_the_filter_writes_into_a_stream_has_one_line_to_every_reader() {
    let rego = "package writ\ncall := {`allow`: true} if input.mcp.from == `client`\ncall := {`allow`: false, `reason`: `a\u{2028}b`} if input.mcp.from != `client`\nresult := {`allow`: true, `mask`: [`card_numbers`]}";
    let result = RESULT.replace("card", "\\u2029 \u{2028} card");
    let make = || World::of(rego).sent(CALL);
    let stream = format!("{}{}", event(SAMPLING), event(&result));
    let (_, shown) = World::answered_with(make, "text/event-stream", &stream);
    assert!(shown.contains("writ/denied") && shown.contains("[card number]"));
    assert!(!shown.contains(['\u{2028}', '\u{2029}']), "{shown}");
    assert_eq!(shown.matches("\\u2028").count(), 2, "{shown}");
}

const SAMPLING: &str = r#"{"jsonrpc":"2.0","id":"q-1","method":"sampling/createMessage","params":{"maxTokens":10,"messages":[]}}"#;

/// Lets servers sample a little, and nothing else.
const LITTLE: &str = "package writ\ndefault call := {`allow`: false, `reason`: `not here`}\ncall := {`allow`: true} if input.mcp.from == `client`\ncall := {`allow`: true} if { input.mcp.method == `sampling/createMessage`; input.mcp.arguments.maxTokens <= 10; input.mcp.during == {`method`: `tools/call`, `target`: `listAccounts`} }";

#[test]
fn a_servers_question_reaches_the_client_under_a_sealed_id() {
    let stream = format!("{}{}", event(SAMPLING), event(RESULT));
    let make = || World::of(LITTLE).sent(CALL);
    let (world, shown) = World::answered_with(make, "text/event-stream", &stream);
    let (asked, answered) = shown.split_once("\n\n").unwrap();
    assert_eq!(format!("{answered}"), event(RESULT));
    let data = asked
        .lines()
        .last()
        .unwrap()
        .strip_prefix("data: ")
        .unwrap();
    let asked: Json = serde_json::from_str(data).unwrap();
    let sealed = asked["id"].as_str().unwrap().to_owned();
    assert_eq!(data.replace(&sealed, "q-1"), SAMPLING);
    let server = &world.gateway.rules.as_ref().unwrap().servers["ledger"];
    let principal = |subject| crate::seal::Principal {
        issuer: "https://issuer.example",
        subject,
        agent: "assistant",
        server: "ledger",
    };
    let sealer = server.sealer().unwrap();
    let opened = sealer
        .open_question(&principal("alice"), None, &sealed)
        .unwrap();
    assert_eq!(
        (opened.method.as_str(), opened.id.as_str()),
        ("sampling/createMessage", "\"q-1\"")
    );
    assert_eq!(sealer.open_question(&principal("bob"), None, &sealed), None);
}

#[test]
fn a_question_is_called_off_under_the_id_that_the_client_knows_it_by() {
    let off = |id: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
        )
    };
    let (this, other) = (off("\"q-1\""), off("7.5"));
    let stream = [SAMPLING, &this, &other, RESULT].map(event).concat();
    let make = || World::of(LITTLE).sent(CALL);
    let (_, shown) = World::answered_with(make, "text/event-stream", &stream);
    let messages: Vec<Json> = shown
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    assert_eq!(messages[1]["params"]["requestId"], messages[0]["id"]);
    assert_ne!(messages[0]["id"], "q-1");
    assert_eq!(messages[2]["params"]["requestId"], 7.5, "no id");
    // On a stream that did not ask: by each name that the client can know it by, and under no other.
    let reason = this.replace("\"q-1\"", "\"q-1\",\"reason\":\"x\",\"result\":{}");
    let stream = format!("{}{}", event(&reason), event(RESULT));
    let (_, shown) = World::answered_with(make, "text/event-stream", &stream);
    let called_off: Vec<Json> = shown
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str::<Json>(data).unwrap())
        .filter(|message| message["method"] == "notifications/cancelled")
        .collect();
    let known = called_off
        .iter()
        .filter(|message| message["params"]["requestId"] == messages[0]["id"]);
    assert_eq!(known.count(), 1);
    assert_eq!(called_off.len(), 8);
    assert!(!shown.contains("q-1"), "{shown}");
}

#[test]
fn a_question_whose_answer_could_not_come_back_is_not_asked() {
    for (id, asked) in [
        ("9007199254740991", true),
        ("9007199254740992", false),
        ("-9007199254740992", false),
        ("1.0", false),
        ("null", false),
    ] {
        let make = || World::of(LITTLE).sent(CALL);
        let stream = event(&SAMPLING.replace("\"q-1\"", id));
        let (_, shown) = World::answered_with(make, "text/event-stream", &stream);
        assert_eq!(shown.contains("sampling/createMessage"), asked, "{id}");
        if !asked {
            let told = error_in(&shown)["message"].to_string();
            assert!(told.contains("asks with a method or an id"), "{told}");
        }
    }
}

#[test]
fn what_a_client_could_take_for_json_or_events_is_looked_at_whatever_the_status() {
    let make = || World::of(MASKS).sent(CALL);
    for content_type in [
        "application/jsonx",
        "application/json-seq",
        "application/json, text/plain",
        "text/plain, application/json",
        "text/plain; x=application/json",
        "x-text/event-streams",
        "text/event-stream, text/event-stream",
    ] {
        for status in ["200", "400", "500"] {
            let mut world = make();
            let shown = pass(&mut world, content_type, &[(":status", status)], RESULT, 9);
            assert_eq!(error_in(&shown)["code"], 502, "{content_type} {status}");
            let now = world.proxy.response.borrow()["content-type"].clone();
            assert_eq!(now, "application/json");
        }
    }
    // What is none of it is nothing that a client reads a message from.
    for content_type in ["application/problem+json", "text/html", ""] {
        let shown = pass(&mut make(), content_type, &[(":status", "500")], RESULT, 9);
        assert_eq!(shown, RESULT);
    }
    for (content_type, now) in [
        ("application/json; charset=utf-16le", "application/json"),
        (
            "text/event-stream;Charset=\"ISO-8859-1\"; x=1",
            "text/event-stream",
        ),
        (
            "text/event-stream; x=1; charset=utf-8",
            "text/event-stream; x=1; charset=utf-8",
        ),
        (
            "application/json;charset=\"UTF-8\"",
            "application/json;charset=\"UTF-8\"",
        ),
    ] {
        let mut world = make();
        world.begins(content_type);
        assert_eq!(world.proxy.response.borrow()["content-type"], now);
    }
}

#[test]
fn an_answer_whose_status_cannot_be_read_is_taken_for_one_that_counts() {
    for (status, passes) in [("", false), ("9999999", false), ("500", true)] {
        let mut world = World::of(MASKS).sent(CALL);
        let shown = pass(&mut world, "text/plain", &[(":status", status)], RESULT, 9);
        assert_eq!(shown == RESULT, passes, "{status}");
    }
}

#[test]
fn a_large_answer_to_another_request_is_none() {
    let large = RESULT.replace("card", &"x".repeat(2 << 20));
    let last = large
        .replace(r#""id":7,"#, "")
        .replace("0}}", r#"0},"id":8}"#);
    assert!(last.ends_with(r#""id":8}"#));
    for other in [large.replace(r#""id":7"#, r#""id":8"#), last.clone()] {
        for (content_type, body) in [
            ("application/json", other.clone()),
            ("text/event-stream", event(&other)),
        ] {
            let mut world = World::new().sent(CALL);
            let shown = pass(&mut world, content_type, &[], &body, 60_000);
            let results = messages_in(&shown);
            let results = results.iter().filter(|it| it.get("result").is_some());
            assert_eq!(results.count(), 0, "{content_type}");
            assert!(serde_json::from_str::<Json>(&shown).is_err());
            assert_eq!(world.outcome().result, CallResult::Withheld);
        }
    }
    let ours = last.replace(r#""id":8}"#, r#""id":7}"#);
    let mut world = World::new().sent(CALL);
    let shown = pass(&mut world, "application/json", &[], &ours, 60_000);
    assert!(shown == ours);
}

#[test]
fn the_answer_to_another_request_is_none() {
    let other = RESULT.replace(r#""id":7"#, r#""id":8"#);
    assert_ne!(other, RESULT);
    let ping = r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#;
    for sent in [ping, CALL, NOTED] {
        let make = || World::of(MASKS).sent(sent);
        for (content_type, body) in [
            ("text/event-stream", event(&other)),
            ("application/json", other.clone()),
        ] {
            let (_, shown) = World::answered_with(make, content_type, &body);
            assert!(!shown.contains("4111"), "{shown}");
            let told = error_in(&shown)["message"].to_string();
            assert!(told.contains("another request"), "{told}");
        }
    }
}

#[test]
fn members_in_another_case_are_not_shown() {
    for answer in [
        r#"{"jsonrpc":"2.0","id":7,"result":{"Tools":[{"name":"a"}]}}"#,
        r#"{"jsonrpc":"2.0","ID":7,"Method":"sampling/createMessage"}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"tools":[{"name":"a","NAME":"b"}]}}"#,
    ] {
        let make = || World::new().sent(r#"{"jsonrpc":"2.0","id":7,"method":"tools/list"}"#);
        let (_, shown) = World::answered_with(make, "application/json", answer);
        assert!(
            error_in(&shown)["message"]
                .as_str()
                .unwrap()
                .contains("another case"),
            "{shown}"
        );
    }
}

#[test]
fn a_denied_question_is_one_that_every_client_declines_and_is_on_record() {
    for denied in [
        SAMPLING.replace("10", "11"),
        SAMPLING.replace("sampling/createMessage", "elicitation/create"),
        SAMPLING.replace("sampling/createMessage", "tools/call"),
    ] {
        let make = || World::of(LITTLE).sent(CALL);
        let stream = format!("{}{}", event(&denied), event(RESULT));
        let (mut world, shown) = World::answered_with(make, "text/event-stream", &stream);
        let (asked, answered) = shown.split_once("\n\n").unwrap();
        assert_eq!(answered, event(RESULT));
        let data = asked
            .lines()
            .last()
            .unwrap()
            .strip_prefix("data: ")
            .unwrap();
        let asked: Json = serde_json::from_str(data).unwrap();
        assert_eq!(asked["method"], "writ/denied");
        assert_eq!(asked["params"]["reason"], "not here");
        assert_ne!(asked["id"], "q-1");
        let events = world.events();
        let [Event::Denied(on_record)] = events.as_slice() else {
            panic!("{events:?}")
        };
        assert_eq!(asked["params"]["method"], on_record.call.method.as_str());
        assert_eq!(on_record.call.target.as_deref(), Some("listAccounts"));
        assert_eq!(on_record.reason, "not here");
    }
}

#[test]
fn a_server_that_goes_on_asking_for_what_it_is_denied_is_cut_off() {
    let mut world = World::of(LITTLE).sent(CALL);
    let stream = event(&SAMPLING.replace("10", "11")).repeat(1000);
    let shown = pass(&mut world, "text/event-stream", &[], &stream, 10_000);
    assert_eq!(shown.matches("writ/denied").count(), 16);
    assert!(shown.contains("goes on asking"), "{shown}");
    world.exchange.on_end(&mut world.gateway, &world.proxy);
    let events = world.events();
    assert_eq!(events.len(), 18);
    assert!(
        matches!(events.last(), Some(Event::Outcome(outcome)) if outcome.result == CallResult::Withheld)
    );
}

#[test]
fn a_question_in_place_of_an_answer_is_none() {
    for body in [
        SAMPLING.to_owned(),
        format!("[{SAMPLING}]"),
        SAMPLING.replace("params", "result"),
    ] {
        let make = || World::of(LITTLE).sent(CALL);
        let (mut world, shown) = World::answered_with(make, "application/json", &body);
        assert_eq!(error_in(&shown)["code"], 502);
        assert_eq!(world.outcome().result, CallResult::Withheld);
    }
}

#[test]
fn what_a_result_asks_of_the_client_is_judged_too() {
    let asks = |method: &str, tokens: u64| {
        let params = json!({"maxTokens": tokens, "messages": []});
        json!({"jsonrpc": "2.0", "id": 7, "result": {"resultType": "input_required", "requestState": "s",
            "inputRequests": {"a": {"method": "sampling/createMessage", "params": {"maxTokens": 1}},
                "b": {"method": method, "params": params}}}})
        .to_string()
    };
    let url = json!({"jsonrpc": "2.0", "id": 7, "error": {"code": -32042, "message": "", "data": {"elicitations": []}}});
    for (body, allowed) in [
        (asks("sampling/createMessage", 10), true),
        (asks("sampling/createMessage", 11), false),
        (asks("roots/list", 1), false),
        (url.to_string(), false),
    ] {
        for (content_type, body) in [
            ("application/json", body.clone()),
            ("text/event-stream", event(&body)),
        ] {
            let make = || World::of(LITTLE).sent(CALL);
            let (mut world, shown) = World::answered_with(make, content_type, &body);
            if allowed {
                assert_eq!(shown, body);
                assert_eq!(world.outcome().result, CallResult::InputRequired);
            } else {
                let error = error_in(&shown);
                assert_eq!(error["data"]["type"], "policy_denied");
                assert!(error["message"].as_str().unwrap().ends_with("not here"));
                assert_eq!(world.outcome().result, CallResult::Withheld);
            }
        }
    }
}

#[test]
fn news_of_a_task_is_looked_at_like_its_result() {
    let news = r#"{"jsonrpc":"2.0","method":"notifications/tasks","params":{"taskId":"1","status":"completed","result":{"content":[{"type":"text","text":"4111111111111111"}]}}}"#;
    let asking = r#"{"jsonrpc":"2.0","method":"notifications/tasks","params":{"taskId":"1","inputRequests":{"a":{"method":"roots/list"}}}}"#;
    let rego = format!("{LITTLE}\nresult := {{`allow`: true, `mask`: [`card_numbers`]}}");
    let make = || World::of(&rego).sent(CALL);
    let stream = format!("{}{}", event(news), event(asking));
    let (_, shown) = World::answered_with(make, "text/event-stream", &stream);
    assert!(!shown.contains("4111"), "{shown}");
    assert!(
        shown.contains(r#""_meta":{"writ/masked":{"card_number":1}}"#),
        "{shown}"
    );
    // What may not be asked is left out; where to take the stream up again is not.
    assert!(shown.ends_with("\n\nevent: message\nid: 1\n\n"), "{shown}");
}

#[test]
fn an_event_that_is_no_message_ends_the_stream_with_an_error() {
    for (bad, told) in [
        (
            event("{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{},\"result\":{}}"),
            "duplicate key",
        ),
        (event("not json"), "not JSON that every reader"),
        (
            event(&format!(
                r#"{{"x":"{}","method":"x"}}"#,
                "x".repeat(2 << 20)
            )),
            "no plain result",
        ),
        (
            "event: other\ndata: {\"method\":1,\"method\":2}\n\n".to_owned(),
            "duplicate key",
        ),
    ] {
        let mut world = World::new().sent(CALL);
        let progress = event(r#"{"jsonrpc":"2.0","method":"notifications/progress"}"#);
        let stream = format!("{progress}{bad}{}", event(RESULT));
        let shown = pass(&mut world, "text/event-stream", &[], &stream, 10_000);
        let rest = shown.strip_prefix(&progress).unwrap();
        let (_, last) = rest.trim_end().rsplit_once("\n\n").unwrap_or(("", rest));
        let error = error_in(last);
        assert_eq!(error["code"], 502);
        assert!(error["message"].as_str().unwrap().contains(told), "{error}");
        assert!(!rest.contains("4111"));
        let outcome = world.outcome();
        assert_eq!(outcome.result, CallResult::Withheld);
        assert!(outcome.reason.unwrap().contains(told));
    }
}
