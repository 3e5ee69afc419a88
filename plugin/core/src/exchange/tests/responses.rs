//! Answers of clients to questions of servers, and methods that nobody knows.

use super::*;
use crate::message::Id;
use crate::seal::{Principal, Sealer};

const ALICE: Principal<'static> = Principal {
    issuer: "https://issuer.example",
    subject: "alice",
    agent: "assistant",
    server: "ledger",
};
const SESSION: &str = "mcp-session-id";

fn sealer() -> Sealer {
    Sealer::new(&[7; 32])
}

fn question(session: Option<&str>) -> String {
    let id = Id::Number(12);
    sealer()
        .seal_question(&ALICE, session, "elicitation/create", &id)
        .unwrap()
}

fn answer(id: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":"{id}","result":{{"action":"accept","content":{{}}}}}}"#)
}

impl World {
    fn answers_within(&mut self, caller: &str, session: Option<&str>, body: &str) -> Flow {
        let named = session.map(|s| (SESSION.to_owned(), s.as_bytes().to_vec()));
        self.proxy.extra.replace(named.into_iter().collect());
        let length = (
            "content-length".to_owned(),
            body.len().to_string().into_bytes(),
        );
        self.proxy.extra.borrow_mut().push(length);
        self.request(Some(caller), body)
    }

    fn denied(&mut self) -> (Denied, u32, Json) {
        let denied = {
            let calls = self.proxy.calls.borrow();
            let (_, headers, body) = calls.last().unwrap();
            assert_eq!(headers[":path"], "/gateway/v1/events");
            match serde_json::from_slice::<EventBatch>(body)
                .unwrap()
                .events
                .remove(0)
            {
                Event::Denied(denied) => denied,
                other => panic!("{other:?}"),
            }
        };
        self.answers(204, "");
        self.answered();
        let (status, body) = self.reply();
        self.proxy.replies.take();
        (denied, status, body)
    }
}

#[test]
fn an_answer_goes_up_under_the_id_that_the_server_gave_its_question() {
    let mut world = World::new();
    let caller = world.caller();
    let session = sealer().seal_session(&ALICE, "server-session").unwrap();
    let body = answer(&question(Some("server-session")));
    assert_eq!(
        world.answers_within(&caller, Some(&session), &body),
        Flow::Pause
    );

    let opened = r#"{"jsonrpc":"2.0","id":12,"result":{"action":"accept","content":{}}}"#;
    let form = world.form();
    let sent = URL_SAFE_NO_PAD.decode(&form["mcp_message"]).unwrap();
    assert_eq!(String::from_utf8(sent).unwrap(), opened);
    let context: Json = serde_json::from_str(&form["mcp_context"]).unwrap();
    assert_eq!(context["answers"], "elicitation/create");

    let mut claims = World::minted_claims(opened);
    let detail = &mut claims["authorization_details"][0];
    detail["method"] = json!("response/elicitation/create");
    detail.as_object_mut().unwrap().remove("target");
    world.mint(&claims);
    assert_eq!(world.proxy.resumed.get(), 1);
    assert_eq!(world.proxy.body.borrow().as_slice(), opened.as_bytes());
    let headers = world.proxy.headers.borrow();
    assert_eq!(headers["content-length"], opened.len().to_string());
    assert_eq!(headers["content-digest"], content_digest(opened.as_bytes()));
    assert_eq!(headers[SESSION], "server-session");
}

#[test]
fn an_answer_that_was_not_asked_of_this_caller_in_this_session_is_refused_and_on_record() {
    let bobs = |world: &World| {
        let mut claims = World::caller_claims();
        claims["sub"] = json!("bob");
        world.sign(&claims)
    };
    let session = sealer().seal_session(&ALICE, "server-session").unwrap();
    let in_session = question(Some("server-session"));
    let without = question(None);
    let mut world = World::new();
    let (alice, bob) = (world.caller(), bobs(&world));
    for (caller, within, id) in [
        (&bob, None, without.as_str()),
        (&alice, None, in_session.as_str()),
        (&alice, Some(session.as_str()), without.as_str()),
        (&alice, None, "12"),
        (&alice, None, session.as_str()),
        (&alice, None, ""),
    ] {
        assert_eq!(
            world.answers_within(caller, within, &answer(id)),
            Flow::Pause
        );
        let (denied, status, body) = world.denied();
        assert_eq!(denied.cause, DenialCause::Question, "{id}");
        assert_eq!((status, &body["id"]), (400, &Json::Null));
        assert_eq!(body["error"]["data"]["type"], "unknown_question");
    }
    let numbered = answer("x").replace("\"x\"", "12");
    world.answers_within(&alice, None, &numbered);
    assert_eq!(world.denied().1, 400);
    // Within another's session not even a question of one's own is answered.
    world.answers_within(&bob, Some(&session), &answer(&in_session));
    let (denied, status, _) = world.denied();
    assert_eq!((denied.cause, status), (DenialCause::Session, 404));
    world.assert_nothing_forwarded();
}

#[test]
fn a_method_that_nobody_knows_is_denied_unless_the_server_has_it() {
    let report = r#"{"jsonrpc":"2.0","id":7,"method":"acme/report"}"#;
    let note = r#"{"jsonrpc":"2.0","method":"notifications/acme"}"#;
    let mut world = World::new();
    let caller = world.caller();
    for (body, version, expected) in [
        (report, "2025-11-25", (200, json!(7))),
        (note, "2025-11-25", (400, Json::Null)),
        (note, "2026-07-28", (404, Json::Null)),
    ] {
        let version = (
            "mcp-protocol-version".to_owned(),
            version.as_bytes().to_vec(),
        );
        world.proxy.extra.replace(vec![version]);
        assert_eq!(world.request(Some(&caller), body), Flow::Pause);
        let (denied, status, answer) = world.denied();
        assert_eq!(denied.cause, DenialCause::Method);
        assert_eq!((status, answer["id"].clone()), expected);
        assert_eq!(answer["error"]["code"], -32601);
        let told = answer["error"]["message"].as_str().unwrap();
        assert!(
            told.contains("writ server update ledger --method"),
            "{told}"
        );
    }
    world.assert_nothing_forwarded();

    let mut world = World::without_snapshot().with_snapshot(|snapshot| {
        snapshot["servers"]["ledger"]["methods"] = json!(["acme/report"]);
    });
    let caller = world.caller();
    world.request(Some(&caller), report);
    assert_eq!(
        world.proxy.calls.borrow().last().unwrap().1[":path"],
        "/gateway/v1/events"
    );
    let (denied, _, _) = world.denied();
    assert_eq!(
        denied.cause,
        DenialCause::Policy,
        "the policy is asked about it"
    );
}
