use super::*;

fn problem(body: &str) -> (Option<Id>, Problem) {
    let error = parse(body.as_bytes()).expect_err(body);
    (error.id, error.problem)
}

#[test]
fn a_tool_call_is_understood() {
    let message = parse(
        br#" {"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"transfer","arguments":{"amount":5},
        "_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}},"extra":1} "#,
    )
    .unwrap();
    assert_eq!(message.id(), Some(&Id::String("a".to_owned())));
    assert_eq!(message.method(), "tools/call");
    assert_eq!(message.target(), Some("transfer"));
    assert_eq!(message.travel(), Travel::SingleUse);
    let mcp = message.mcp(None, Some("s"));
    assert_eq!(mcp.version, Some("2026-07-28"));
    assert_eq!(mcp.tool, Some("transfer"));
    assert_eq!(mcp.prompt, None);
    assert_eq!(
        mcp.arguments,
        Some(&Value::from_json_str(r#"{"amount":5}"#).unwrap())
    );
    assert_eq!(mcp.session, Some("s"));
}

#[test]
fn what_a_method_acts_on_is_its_target() {
    for (method, params, target, travel) in [
        (
            "prompts/get",
            r#"{"name":"p"}"#,
            Some("p"),
            Travel::SingleUse,
        ),
        (
            "resources/read",
            r#"{"uri":"file:///a"}"#,
            Some("file:///a"),
            Travel::SingleUse,
        ),
        (
            "tasks/get",
            r#"{"taskId":"t"}"#,
            Some("t"),
            Travel::SingleUse,
        ),
        ("completion/complete", "{}", None, Travel::SingleUse),
        ("x/unheard-of", "{}", None, Travel::SingleUse),
        ("tools/list", "{}", None, Travel::Discovery),
        ("initialize", "{}", None, Travel::Discovery),
    ] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        let message = parse(body.as_bytes()).unwrap();
        assert_eq!(
            (message.target(), message.travel()),
            (target, travel),
            "{method}"
        );
    }
}

#[test]
fn a_notification_has_no_id() {
    let message = parse(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).unwrap();
    assert_eq!((message.id(), message.travel()), (None, Travel::Discovery));
    assert!(matches!(
        problem(r#"{"jsonrpc":"2.0","id":1,"method":"notifications/x"}"#).1,
        Problem::Envelope(_)
    ));
    assert!(matches!(
        problem(r#"{"jsonrpc":"2.0","method":"tools/list"}"#).1,
        Problem::Envelope(_)
    ));
}

#[test]
fn what_is_no_message_is_refused_with_its_id() {
    let seven = Some(Id::Number(7));
    for (body, id) in [
        (r#"{"jsonrpc":"2.0","id":7,"method":"tools/call"}"#, &seven),
        (
            r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":3}}"#,
            &seven,
        ),
        (
            r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":""}}"#,
            &seven,
        ),
        (
            r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":["transfer"]}"#,
            &seven,
        ),
        (
            r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"t","arguments":[1]}}"#,
            &seven,
        ),
        (r#"{"jsonrpc":"2.0","id":7,"method":7}"#, &seven),
        (r#"{"jsonrpc":"2.0","id":7}"#, &seven),
        (r#"{"jsonrpc":"1.0","id":7,"method":"ping"}"#, &seven),
        (r#"{"id":7,"method":"ping"}"#, &seven),
        (r#"{"jsonrpc":"2.0","id":7,"result":[]}"#, &seven),
        (r#"{"jsonrpc":"2.0","id":7,"result":null}"#, &seven),
        (r#"{"jsonrpc":"2.0","id":7,"result":{},"error":{}}"#, &seven),
        (
            r#"{"jsonrpc":"2.0","id":7,"result":{},"method":"ping"}"#,
            &seven,
        ),
        (
            r#"{"jsonrpc":"2.0","id":7,"result":{},"params":{}}"#,
            &seven,
        ),
        (r#"{"jsonrpc":"2.0","result":{}}"#, &None),
        (
            r#"{"jsonrpc":"2.0","id":7,"method":"response/ping"}"#,
            &seven,
        ),
        (
            r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"t","inputResponses":[]}}"#,
            &seven,
        ),
        (r#"{"jsonrpc":"2.0","id":7,"method":"stream/open"}"#, &seven),
        (
            r#"{"jsonrpc":"2.0","id":7,"method":"ping","params":{"a":1,"a":2}}"#,
            &seven,
        ),
        (
            r#"{"jsonrpc":"2.0","id":7,"method":"ping","method":"tools/list"}"#,
            &seven,
        ),
        (r#"{"jsonrpc":"2.0","id":7,"id":8,"method":"ping"}"#, &seven),
        (r#"{"jsonrpc":"2.0","id":7,"method":"ping"} x"#, &seven),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, &None),
        (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, &None),
        (r#"[{"jsonrpc":"2.0","id":7,"method":"ping"}]"#, &None),
        ("", &None),
        ("7", &None),
    ] {
        assert_eq!(&problem(body).0, id, "{body}");
    }
}

#[test]
fn the_digest_is_that_of_rfc_9530() {
    // RFC 9530, appendix D: `{"hello": "world"}` with a line feed.
    assert_eq!(
        content_digest(b"{\"hello\": \"world\"}\n"),
        "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"
    );
}

#[test]
fn an_id_is_echoed_as_json() {
    assert_eq!(Id::Number(-3).to_string(), "-3");
    assert_eq!(Id::String("a\"\n".to_owned()).to_string(), r#""a\"\n""#);
}

#[test]
fn an_answer_is_called_after_its_question_and_holds_what_was_answered() {
    for (member, value) in [
        ("result", r#"{"action":"accept"}"#),
        ("error", r#"{"code":1}"#),
    ] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":"s","{member}":{value}}}"#);
        let answer = parse(body.as_bytes()).unwrap();
        assert_eq!((answer.form(), answer.reply_id()), (Form::Response, None));
        assert_eq!(answer.id(), Some(&Id::String("s".to_owned())));
        assert!(answer.is_called("response/elicitation/create") && !answer.is_called("ping"));
        let answer = answer.answering("elicitation/create");
        assert_eq!(answer.method(), "response/elicitation/create");
        assert_eq!(answer.answered(), Some("elicitation/create"));
        assert_eq!(answer.travel(), Travel::SingleUse);
        assert!(answer.check_known("ledger", &[]).is_ok());
        let expected = Value::from_json_str(&format!(r#"{{"{member}":{value}}}"#)).unwrap();
        assert_eq!(answer.mcp(None, None).answer, Some(&expected));
    }
}

#[test]
fn the_id_of_an_answer_is_replaced_and_nothing_else() {
    let body = br#" { "jsonrpc":"2.0", "result":{"id":"s", "n":1.0e2}, "i\u0064" : "s" } "#;
    assert_eq!(
        with_id(body, "7").unwrap(),
        br#" { "jsonrpc":"2.0", "result":{"id":"s", "n":1.0e2}, "i\u0064" : 7 } "#
    );
    assert_eq!(with_id(b"{}", "7"), None);
}

#[test]
fn a_method_that_nobody_knows_is_named_by_the_registration_or_not_sent() {
    for method in ["acme/report", "sampling/createMessage", "tools/Call"] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}"}}"#);
        let message = parse(body.as_bytes()).unwrap();
        let told = message.check_known("ledger", &[]).unwrap_err().to_string();
        assert!(
            told.contains(&format!("writ server update ledger --method {method}")),
            "{told}"
        );
        assert!(message.check_known("ledger", &[method.to_owned()]).is_ok());
    }
    let message = parse(br#"{"jsonrpc":"2.0","method":"notifications/acme"}"#).unwrap();
    assert!(message.check_known("ledger", &[]).is_err());
}

#[test]
fn policies_see_what_a_request_is_repeated_with() {
    let message = parse(
        br#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"t",
        "inputResponses":{"ask":{"action":"accept"}},"requestState":"opaque"}}"#,
    )
    .unwrap();
    let expected = Value::from_json_str(r#"{"ask":{"action":"accept"}}"#).unwrap();
    assert_eq!(message.mcp(None, None).input_responses, Some(&expected));
}

#[test]
fn a_method_that_is_gone_needs_no_target_and_has_none() {
    let body = |version: &str, params: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{{{params}"_meta":{{"io.modelcontextprotocol/protocolVersion":"{version}"}}}}}}"#
        )
    };
    let message = parse(body("2026-07-28", "").as_bytes()).unwrap();
    assert_eq!(message.target(), None);
    for (version, params) in [("2025-11-25", ""), ("2026-07-28", r#""uri":7,"#)] {
        assert!(matches!(
            problem(&body(version, params)).1,
            Problem::Parameter { .. }
        ));
    }
}
