//! What the filter does when its host fails it: no panic, no request upstream without a decision, and never
//! the caller's token.

mod host;

use std::time::Duration;

use host::gateway::{Gateway, SNAPSHOT, TOKEN, json_reply};
use host::status::{
    BAD_ARGUMENT, CAS_MISMATCH, EMPTY, INTERNAL_FAILURE, NOT_FOUND, PARSE_FAILURE,
    SERIALIZATION_FAILURE,
};
use host::vm::{Fate, HeaderHolding};
use host::wire::headers;
use host::world::{Reply, map};
use serde_json::json;
use writ_policy::snapshot::POLICY;

/// The statuses of ABI 0.2.1 that are no success.
const ERRORS: [u32; 7] = [
    NOT_FOUND,
    BAD_ARGUMENT,
    SERIALIZATION_FAILURE,
    PARSE_FAILURE,
    EMPTY,
    CAS_MISMATCH,
    INTERNAL_FAILURE,
];

#[test]
fn a_good_call_goes_upstream_on_a_minted_token() {
    let mut gateway = Gateway::ready();
    gateway.a_good_call_goes_upstream();
    gateway.a_good_call_goes_upstream();
}

#[test]
fn a_token_request_the_host_refuses_is_503() {
    for status in [BAD_ARGUMENT, INTERNAL_FAILURE] {
        let mut gateway = Gateway::ready();
        gateway.vm.fail("proxy_http_call", status);
        let id = gateway.call();
        gateway.assert_refused(id, 503, "refused by the host");
        gateway.vm.heal();
        gateway.a_good_call_goes_upstream();
    }
}

#[test]
fn a_token_request_that_fails_calls_back_without_headers_and_is_503() {
    let mut gateway = Gateway::ready();
    let id = gateway.call();
    gateway.assert_closed(id, "while the token service is asked");
    let callout = gateway.token_request(id);
    gateway.vm.answer(&callout, Reply::default());
    gateway.assert_refused(id, 503, "zero headers");
    gateway.a_good_call_goes_upstream();
}

#[test]
fn an_answer_that_is_no_token_is_503() {
    let not_text = Reply {
        headers: headers(&[(":status", "200")]),
        body: b"\xff\xfe".to_vec(),
    };
    let no_status = Reply {
        headers: headers(&[("content-type", "application/json")]),
        body: b"{}".to_vec(),
    };
    let bad_status = Reply {
        headers: vec![(":status".to_owned(), b"\xff".to_vec())],
        body: b"{}".to_vec(),
    };
    let replies = [
        ("not UTF-8", not_text),
        ("no status", no_status),
        ("a status that is not UTF-8", bad_status),
        ("an empty object", json_reply(200, &[], &json!({}))),
        (
            "another type",
            json_reply(
                200,
                &[],
                &json!({ "access_token": "x", "token_type": "DPoP" }),
            ),
        ),
        (
            "not a JWT",
            json_reply(
                200,
                &[],
                &json!({ "access_token": "x", "token_type": "Bearer", "expires_in": 30 }),
            ),
        ),
        ("an error", json_reply(500, &[], &json!({}))),
    ];
    let mut gateway = Gateway::ready();
    for (case, reply) in replies {
        let id = gateway.call();
        let callout = gateway.token_request(id);
        gateway.vm.answer(&callout, reply);
        gateway.assert_refused(id, 503, case);
    }
    gateway.a_good_call_goes_upstream();
}

#[test]
fn without_a_snapshot_nothing_passes() {
    let mut gateway = Gateway::new();
    let id = gateway.call();
    gateway.assert_refused(id, 503, "no snapshot yet");
    let callout = gateway.snapshot_request();
    gateway.vm.answer(&callout, Reply::default());
    let id = gateway.call();
    gateway.assert_refused(id, 503, "the snapshot did not come");
    for snapshot in [json!({}), json!([]), json!({ "format": 99 })] {
        let callout = gateway.snapshot_request();
        gateway.vm.answer(&callout, json_reply(200, &[], &snapshot));
        let id = gateway.call();
        gateway.assert_refused(id, 503, "the snapshot was no good");
    }
    let callout = gateway.snapshot_request();
    let snapshot = gateway.snapshot();
    let answer = gateway.snapshot_answer(&snapshot);
    gateway.vm.answer(&callout, answer);
    gateway.a_good_call_goes_upstream();
}

#[test]
fn a_snapshot_that_goes_bad_leaves_the_last_good_one() {
    let mut gateway = Gateway::ready();
    let spoilt = |gateway: &mut Gateway, member: &str, value: &str| {
        let mut snapshot = gateway.snapshot();
        snapshot.get_mut(POLICY).unwrap()["program"][member] = json!(value);
        gateway.snapshot_answer(&snapshot)
    };
    let other_engine = spoilt(&mut gateway, "engine", "regorus-9.9.9");
    let no_program = spoilt(&mut gateway, "program", "AAAA");
    let not_text = Reply {
        headers: headers(&[(":status", "200")]),
        body: b"\xff".to_vec(),
    };
    let replies = [
        ("none", Reply::default()),
        ("not UTF-8", not_text),
        ("an error", json_reply(503, &[], &json!({}))),
        ("another engine", other_engine),
        ("a damaged program", no_program),
        ("not modified", json_reply(304, &[], &json!({}))),
    ];
    for (case, reply) in replies {
        let callout = gateway.snapshot_request();
        gateway.vm.answer(&callout, reply);
        gateway.a_good_call_goes_upstream();
        assert!(!gateway.vm.log().is_empty(), "{case}: nothing logged");
    }
}

#[test]
fn a_snapshot_request_the_host_refuses_is_made_again() {
    let mut gateway = Gateway::new();
    gateway.vm.fail("proxy_http_call", INTERNAL_FAILURE);
    let callout = gateway.snapshot_request();
    gateway.vm.answer(&callout, Reply::default());
    gateway.wait(Duration::from_secs(3));
    assert!(gateway.vm.take_callout(SNAPSHOT).is_none());
    gateway.vm.heal();
    gateway.wait(Duration::from_secs(3));
    let callout = gateway.snapshot_request();
    let snapshot = gateway.snapshot();
    let answer = gateway.snapshot_answer(&snapshot);
    gateway.vm.answer(&callout, answer);
    gateway.a_good_call_goes_upstream();
}

#[test]
fn a_route_without_a_server_passes_nothing() {
    let mut gateway = Gateway::ready();
    gateway.vm.world().properties.clear();
    let id = gateway.call();
    assert!(
        matches!(gateway.vm.fate(id), Fate::Answered(_)),
        "{:?}",
        gateway.vm.fate(id)
    );
    for value in [
        b"".to_vec(),
        b"\xff".to_vec(),
        b"nobody".to_vec(),
        vec![b'x'; 10_000],
    ] {
        let path = "xds.route_metadata.filter_metadata.writ.server".to_owned();
        gateway.vm.world().properties.insert(path, value);
        let id = gateway.call();
        assert!(
            matches!(gateway.vm.fate(id), Fate::Answered(_)),
            "{:?}",
            gateway.vm.fate(id)
        );
    }
}

#[test]
fn headers_that_are_not_text_do_not_end_the_vm() {
    let mut gateway = Gateway::ready();
    for name in [
        "authorization",
        "x-request-id",
        "mcp-name",
        "mcp-method",
        "content-type",
        "accept",
        ":path",
        ":authority",
        "x-any",
    ] {
        let mut headers = gateway.call_headers();
        headers.retain(|(key, _)| key != name);
        headers.push((name.to_owned(), b"caf\xe9\xff".to_vec()));
        let id = gateway.vm.open(headers, false);
        let message = host::gateway::message();
        gateway.vm.body(id, message.as_bytes(), true);
        gateway.assert_closed(id, name);
        gateway.vm.world().callouts.clear();
    }
    gateway.a_good_call_goes_upstream();
}

#[test]
fn without_header_holding_a_503_names_the_option_within_a_second() {
    let mut gateway = Gateway::ready();
    gateway.vm.hold_headers(HeaderHolding::Missing);
    let headers = gateway.call_headers();
    let id = gateway.vm.open(headers, false);
    let message = host::gateway::message();
    gateway.vm.body(id, message.as_bytes(), true);
    gateway.assert_closed(id, "while the body does not come");
    gateway.wait(Duration::from_secs(1));
    gateway.assert_refused(id, 503, "the body never came");
    let log = gateway.vm.log();
    assert!(
        log.iter()
            .any(|line| line.contains("allow_on_headers_stop_iteration")),
        "{log:#?}"
    );
    assert!(
        !log.iter().any(|line| line.contains(&gateway.token)),
        "the token is in the log"
    );
}

#[test]
fn a_slow_body_is_no_reason_to_refuse() {
    let mut gateway = Gateway::ready();
    let headers = gateway.call_headers();
    let id = gateway.vm.open(headers, false);
    let message = host::gateway::message();
    let (first, second) = message.as_bytes().split_at(20);
    gateway.vm.body(id, first, false);
    gateway.wait(Duration::from_secs(3));
    gateway.assert_closed(id, "half a body");
    gateway.vm.body(id, second, true);
    let callout = gateway.token_request(id);
    let reply = gateway.mint(&callout);
    gateway.vm.answer(&callout, reply);
    gateway.assert_upstream_on_a_minted_token(id);
}

#[test]
fn a_body_that_ends_with_an_empty_chunk_is_whole() {
    let mut gateway = Gateway::ready();
    let headers = gateway.call_headers();
    let id = gateway.vm.open(headers, false);
    let message = host::gateway::message();
    gateway.vm.body(id, message.as_bytes(), false);
    gateway.vm.body(id, b"", true);
    let callout = gateway.token_request(id);
    let reply = gateway.mint(&callout);
    gateway.vm.answer(&callout, reply);
    gateway.assert_upstream_on_a_minted_token(id);
}

#[test]
fn a_body_that_ends_in_trailers_is_refused() {
    let mut gateway = Gateway::ready();
    let headers = gateway.call_headers();
    let id = gateway.vm.open(headers, false);
    let message = host::gateway::message();
    gateway.vm.body(id, message.as_bytes(), false);
    gateway
        .vm
        .trailers(id, host::wire::headers(&[("x-trailer", "1")]));
    gateway.assert_refused(id, 400, "trailers");
    gateway.a_good_call_goes_upstream();
}

#[test]
fn a_caller_who_leaves_while_the_token_is_minted_does_no_harm() {
    let mut gateway = Gateway::ready();
    let id = gateway.call();
    let callout = gateway.token_request(id);
    gateway.vm.close(id);
    let reply = gateway.mint(&callout);
    gateway.vm.answer(&callout, reply);
    gateway.a_good_call_goes_upstream();
}

/// The functions the filter calls while a request goes through it, each with the errors that Envoy 1.40 answers
/// with: the VM lives on.
const LIVES_ON: [(&str, &[u32]); 6] = [
    (
        "proxy_get_property",
        &[NOT_FOUND, SERIALIZATION_FAILURE, INTERNAL_FAILURE],
    ),
    ("proxy_get_buffer_bytes", &[NOT_FOUND]),
    ("proxy_get_header_map_value", &[NOT_FOUND]),
    ("proxy_http_call", &[BAD_ARGUMENT, INTERNAL_FAILURE]),
    ("proxy_increment_metric", &[NOT_FOUND, BAD_ARGUMENT]),
    ("proxy_record_metric", &[NOT_FOUND]),
];

/// The functions a request depends on. The SDK panics on errors that it knows the proxy not to give: then the
/// worker's requests fail, and none goes upstream.
const FAILS_CLOSED: [&str; 13] = [
    "proxy_get_property",
    "proxy_get_header_map_pairs",
    "proxy_get_header_map_value",
    "proxy_replace_header_map_value",
    "proxy_remove_header_map_value",
    "proxy_add_header_map_value",
    "proxy_get_buffer_bytes",
    "proxy_http_call",
    "proxy_set_effective_context",
    "proxy_continue_stream",
    "proxy_send_local_response",
    "proxy_get_current_time_nanoseconds",
    "proxy_log",
];

/// Two calls: one with the fault there from its first byte on, one where it comes with the minted token.
fn two_calls(gateway: &mut Gateway, import: &'static str, status: u32) {
    let case = format!("{import} answers {status}");
    gateway.vm.fail(import, status);
    let early = gateway.call();
    if let Some(callout) = gateway.vm.take_callout(TOKEN) {
        let reply = gateway.mint(&callout);
        gateway.vm.answer(&callout, reply);
    }
    assert_no_callers_token(gateway, early, &case);
    gateway.vm.heal();

    let late = gateway.call();
    if let Some(callout) = gateway.vm.take_callout(TOKEN) {
        gateway.vm.fail(import, status);
        let reply = gateway.mint(&callout);
        gateway.vm.answer(&callout, reply);
        gateway.vm.heal();
    }
    assert_no_callers_token(gateway, late, &case);
    for id in [early, late] {
        gateway.vm.close(id);
    }
}

#[test]
fn errors_that_envoy_gives_do_not_end_the_vm() {
    for (import, statuses) in LIVES_ON {
        for status in statuses {
            let mut gateway = Gateway::ready();
            two_calls(&mut gateway, import, *status);
            gateway.a_good_call_goes_upstream();
        }
    }
}

#[test]
fn no_error_of_the_host_lets_a_callers_token_through() {
    for import in FAILS_CLOSED {
        for status in ERRORS {
            let mut gateway = Gateway::ready();
            gateway.vm.survive_traps();
            two_calls(&mut gateway, import, status);
            if gateway.vm.trap().is_none() {
                gateway.a_good_call_goes_upstream();
            }
        }
    }
}

fn assert_no_callers_token(gateway: &Gateway, id: u32, case: &str) {
    if let Fate::Upstream { headers, .. } = gateway.vm.fate(id) {
        let carries = headers.iter().any(|(_, value)| {
            value
                .windows(gateway.token.len())
                .any(|part| part == gateway.token.as_bytes())
        });
        assert!(!carries, "{case}: the caller's token went upstream");
        let cookie = headers.iter().any(|(name, _)| name == "cookie");
        assert!(!cookie, "{case}: the caller's cookies went upstream");
    }
}

#[test]
fn a_response_without_readable_headers_does_not_end_the_vm() {
    let mut gateway = Gateway::ready();
    for response in [
        headers(&[]),
        vec![(":status".to_owned(), b"\xff".to_vec())],
        headers(&[(":status", "9999999")]),
    ] {
        let id = gateway.call();
        let callout = gateway.token_request(id);
        let reply = gateway.mint(&callout);
        gateway.vm.answer(&callout, reply);
        gateway.vm.response_headers(id, response, false);
        gateway.vm.response_body(id, b"\xff\xfe", true);
        gateway.vm.close(id);
    }
    gateway.vm.fail_for(
        "proxy_get_header_map_value",
        map::RESPONSE_HEADERS,
        NOT_FOUND,
    );
    gateway.a_good_call_goes_upstream();
}

#[test]
fn thousands_of_calls_do_not_grow_the_memory() {
    let mut gateway = Gateway::ready();
    let flush = |gateway: &mut Gateway| {
        gateway.vm.tick();
        gateway.vm.world().log.clear();
        let callouts = std::mem::take(&mut gateway.vm.world().callouts);
        for callout in callouts {
            gateway
                .vm
                .answer(&callout, json_reply(204, &[], &json!({})));
        }
    };
    for _ in 0..500 {
        gateway.a_good_call_goes_upstream();
        flush(&mut gateway);
    }
    let before = gateway.vm.memory();
    for _ in 0..2_000 {
        gateway.a_good_call_goes_upstream();
        flush(&mut gateway);
    }
    let after = gateway.vm.memory();
    assert!(
        after <= before + (256 << 10),
        "{before} bytes before, {after} after"
    );
}
