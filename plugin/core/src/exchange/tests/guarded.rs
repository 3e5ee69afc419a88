//! A request's life at the door of a guarded server.

use writ_policy::credential::Credential;
use writ_policy::event::Rogue;

use super::*;
use crate::guard::metadata::tests::written;
use crate::guard::{NotSpent, ROW, Ring, Spend};

const GLOBAL: &str = "";
const LOCAL: &str = r#", "single_use": "local", "clock_skew": "0s""#;

impl World {
    pub(super) fn guard(more: &str) -> Self {
        let configuration = format!(
            r#"{{"mode": "guard", "server": "ledger", "token_service": {{"cluster": "writ", "gateway_id": "door",
                "secret_env": "S"}}, "limits": {{"body": "1KiB"}} {more}}}"#
        );
        Self::configured(configuration.as_bytes()).with_snapshot(|_| {})
    }

    /// Minted after the guard's start, for [`CALL`].
    fn minted() -> Json {
        let mut claims = Self::minted_claims(CALL);
        claims["iat"] = json!(NOW + 1);
        claims
    }

    /// Another worker of the same proxy.
    fn another_worker(&mut self) -> Gateway {
        let configuration = format!(
            r#"{{"mode": "guard", "server": "ledger", "token_service": {{"cluster": "writ", "gateway_id": "door",
                "secret_env": "S"}} {LOCAL}}}"#
        );
        let other =
            Gateway::start(configuration.as_bytes(), |_| Some(snapshots::secret())).unwrap();
        let first = std::mem::replace(&mut self.gateway, other);
        let key = self.key.clone();
        let proxy = std::mem::take(&mut self.proxy);
        let world = Self {
            proxy,
            gateway: std::mem::replace(&mut self.gateway, first),
            key,
            exchange: Exchange::new(3),
        };
        let World { proxy, gateway, .. } = world.with_snapshot(|_| {});
        self.proxy = proxy;
        gateway
    }

    /// The service's word on a token that it was asked to spend.
    fn spent(&mut self, status: u16, answer: &str) {
        self.answers(status, answer);
        self.answered();
    }

    fn asked_to_spend(&self) -> Json {
        let calls = self.proxy.calls.borrow();
        let (cluster, headers, body) = calls.last().unwrap();
        let path = headers[":path"].as_str();
        assert_eq!((cluster.as_str(), path), ("writ", "/gateway/v1/consume"));
        assert!(headers["authorization"].starts_with("Basic "));
        serde_json::from_slice(body).unwrap()
    }

    fn rogues(&mut self) -> Vec<Rogue> {
        let rogue = |event| match event {
            Event::Rogue(rogue) => rogue,
            other => panic!("{other:?}"),
        };
        self.events().into_iter().map(rogue).collect()
    }

    fn sent_to(&self) -> Option<String> {
        let replies = self.proxy.replies.borrow();
        let headers = replies[0].headers.iter();
        let mut found = headers.filter(|(name, _)| *name == "www-authenticate");
        found.next().map(|(_, value)| value.clone())
    }
}

#[test]
fn a_minted_token_is_spent_at_the_service_before_the_call_goes_in() {
    let mut world = World::guard(GLOBAL);
    let token = world.sign(&World::minted());
    assert_eq!(world.request(Some(&token), CALL), Flow::Pause);
    world.assert_nothing_forwarded();
    let asked = json!({"server": "ledger", "token": token, "source_ip": "2001:db8::1", "request_id": "req-1"});
    assert_eq!(world.asked_to_spend(), asked);
    world.spent(200, r#"{"active": true}"#);
    assert_eq!(world.proxy.resumed.get(), 1);
    assert_eq!(
        (world.gateway.stats.allowed, world.gateway.stats.spent),
        (1, 1)
    );
    assert!(world.proxy.replies.borrow().is_empty());
    let headers = world.proxy.headers.borrow();
    assert_eq!(headers["authorization"], format!("Bearer {token}"));
    assert_eq!(headers["cookie"], "session=1", "nothing else is taken off");
    drop(headers);
    world
        .exchange
        .on_response_headers(&mut world.gateway, &world.proxy, false);
    let through = world
        .exchange
        .on_response_body(&mut world.gateway, &world.proxy, 5, true);
    assert_eq!(through, Flow::Continue);
    world.exchange.on_end(&mut world.gateway, &world.proxy);
    assert_eq!(world.events(), [], "outcomes are the gateway's to report");
}

#[test]
fn the_token_stays_at_the_door_where_it_is_to() {
    let mut world = World::guard(r#", "upstream_token": "strip""#);
    let token = world.sign(&World::minted());
    world.request(Some(&token), CALL);
    world.spent(200, r#"{"active": true}"#);
    assert_eq!(world.proxy.resumed.get(), 1);
    assert!(!world.proxy.headers.borrow().contains_key("authorization"));
}

#[test]
fn what_the_service_does_not_spend_stays_out() {
    let cases = [
        (200, r#"{"active": false, "credential": "replay"}"#, 403, 1),
        (200, r#"{"active": false, "credential": "revoked"}"#, 401, 1),
        (200, r#"{"active": false}"#, 403, 1),
        (200, r#"{"active": "true"}"#, 503, 0),
        (200, "", 503, 0),
        (204, r#"{"active": true}"#, 503, 0),
        (401, r#"{"active": true}"#, 503, 0),
        (403, "{}", 503, 0),
        (503, "{}", 503, 0),
    ];
    for (status, answer, told, rogue) in cases {
        let mut world = World::guard(GLOBAL);
        let token = world.sign(&World::minted());
        world.request(Some(&token), CALL);
        world.spent(status, answer);
        world.assert_nothing_forwarded();
        let (status, body) = world.reply();
        assert_eq!(status, told, "{answer}");
        assert_eq!(body["id"], 7);
        assert_eq!(world.gateway.stats.rogue, rogue, "{answer}");
        assert_eq!(world.events(), [], "the service has it on record");
    }
}

#[test]
fn a_service_that_is_away_refuses_with_global_single_use() {
    let mut world = World::guard(GLOBAL);
    let token = world.sign(&World::minted());
    world.proxy.refuses_calls.set(true);
    world.request(Some(&token), CALL);
    world.assert_nothing_forwarded();
    let (status, body) = world.reply();
    assert_eq!((status, &body["error"]["code"]), (503, &json!(503)));
    assert!(
        body["error"]["message"]
            .as_str()
            .unwrap()
            .contains("call again")
    );

    let mut world = World::guard(GLOBAL);
    let token = world.sign(&World::minted());
    world.request(Some(&token), CALL);
    world.proxy.answer.replace(None);
    world.answered();
    world.assert_nothing_forwarded();
    assert_eq!(world.reply().0, 503, "no answer in time");
}

#[test]
fn a_discovery_token_looks_around_and_nothing_is_spent() {
    let mut world = World::guard(GLOBAL);
    let token = world.sign(&World::discovery_claims());
    let calls = world.calls();
    for _ in 0..2 {
        assert_eq!(world.request(Some(&token), LIST), Flow::Continue);
    }
    assert_eq!(world.calls(), calls);
    assert_eq!(
        (world.gateway.stats.allowed, world.gateway.stats.spent),
        (2, 0)
    );
}

#[test]
fn nothing_gets_in_before_there_are_keys() {
    let configuration = br#"{"mode": "guard", "server": "ledger", "token_service": {"cluster": "writ", "gateway_id": "door",
        "snapshot_key": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"}}"#;
    let mut world = World::configured(configuration);
    let token = world.sign(&World::minted());
    world.request(Some(&token), CALL);
    assert_eq!(world.reply().0, 503);
    world.assert_nothing_forwarded();
}

#[test]
fn a_server_that_is_not_this_guards_or_is_switched_off_is_not_reached() {
    for (change, status) in [
        (
            (|snapshot: &mut Json| snapshot["servers"] = json!({})) as fn(&mut Json),
            503,
        ),
        (
            |snapshot| snapshot["servers"]["ledger"]["status"] = json!("disabled"),
            404,
        ),
    ] {
        let mut world = World::guard(GLOBAL);
        world.proxy.later_s.set(2);
        world = world.with_snapshot(|snapshot| {
            change(snapshot);
        });
        let token = world.sign(&World::minted());
        world.request(Some(&token), CALL);
        assert_eq!(world.reply().0, status);
        world.assert_nothing_forwarded();
    }
}

#[test]
fn a_token_is_good_once_for_all_workers_of_a_proxy() {
    let mut world = World::guard(LOCAL);
    let mut other = world.another_worker();
    let token = world.sign(&World::minted());
    world.proxy.later_s.set(1);
    let calls = world.calls();
    assert_eq!(world.request(Some(&token), CALL), Flow::Continue);
    assert_eq!(
        world.request(Some(&token), CALL),
        Flow::Pause,
        "the same worker"
    );
    assert_eq!(world.reply().0, 403);
    world.proxy.replies.borrow_mut().clear();
    std::mem::swap(&mut world.gateway, &mut other);
    assert_eq!(
        world.request(Some(&token), CALL),
        Flow::Pause,
        "another worker"
    );
    let (status, body) = world.reply();
    assert_eq!(
        (status, &body["error"]["data"]["type"]),
        (403, &json!("not_for_this"))
    );
    assert_eq!(world.calls(), calls, "nobody was asked");
    let [replay] = &world.rogues()[..] else {
        panic!()
    };
    assert_eq!(replay.credential, Credential::Replay);
    assert_eq!(replay.subject.as_deref(), Some("alice"));
    assert_eq!(replay.agent.as_deref(), Some("assistant"));
    assert_eq!(replay.token_id.as_deref(), Some("m1"));
    assert_eq!(replay.source_ip, "2001:db8::1");
    assert_eq!(replay.request_id, "req-1");
    assert_eq!((world.gateway.stats.rogue, other.stats.rogue), (1, 1));
}

#[test]
fn a_guard_that_has_just_started_refuses_tokens_from_before() {
    let mut world = World::guard(LOCAL);
    let mut claims = World::minted();
    claims["iat"] = json!(NOW - 1);
    let token = world.sign(&claims);
    world.request(Some(&token), CALL);
    world.assert_nothing_forwarded();
    let (status, body) = world.reply();
    assert_eq!(status, 503);
    assert!(
        body["error"]["message"]
            .as_str()
            .unwrap()
            .contains("just started")
    );
    assert_eq!(world.rogues(), [], "whose fault is it");
}

#[test]
fn other_messages_and_other_credentials_are_refused_and_reported() {
    type Change = fn(&mut Json);
    let cases: [(Change, u32, Credential); 5] = [
        (
            |claims| claims["aud"] = json!("urn:other"),
            403,
            Credential::ForeignToken,
        ),
        (
            |claims| claims["authorization_details"][0]["target"] = json!("getPayroll"),
            403,
            Credential::WrongBinding,
        ),
        (
            |claims| {
                claims["authorization_details"][0]["content_digest"] = json!(content_digest(b"{}"))
            },
            403,
            Credential::WrongBinding,
        ),
        (
            |claims| {
                claims["aud"] = json!(RESOURCE);
                for name in ["authorization_details", "act", "txn"] {
                    claims.as_object_mut().unwrap().remove(name);
                }
            },
            401,
            Credential::CallerToken,
        ),
        (
            |claims| claims["exp"] = json!(NOW - 60),
            401,
            Credential::Expired,
        ),
    ];
    for (change, status, credential) in cases {
        let mut world = World::guard(GLOBAL);
        let mut claims = World::minted();
        change(&mut claims);
        let token = world.sign(&claims);
        let calls = world.calls();
        world.request(Some(&token), CALL);
        world.assert_nothing_forwarded();
        assert_eq!(world.calls(), calls, "nobody is asked about it");
        assert_eq!(world.reply().0, status, "{credential:?}");
        let challenge = world.sent_to();
        assert_eq!(challenge.is_some(), status == 401);
        let [rogue] = &world.rogues()[..] else {
            panic!()
        };
        assert_eq!(rogue.credential, credential);
        let owner = (credential != Credential::Expired).then_some("alice");
        assert_eq!(rogue.subject.as_deref(), owner, "{credential:?}");
    }
}

#[test]
fn who_has_no_minted_token_is_sent_to_the_gateway() {
    let secret = "ghp_16C7e42F292c6912E7710c838347Ae178B4a";
    let mut world = World::guard(GLOBAL);
    world.request(Some(secret), CALL);
    let challenge = world.sent_to().unwrap();
    let metadata = "https://gateway.example/.well-known/oauth-protected-resource/ledger/mcp";
    assert!(
        challenge.contains(&format!("resource_metadata=\"{metadata}\"")),
        "{challenge}"
    );
    let (_, body) = world.reply();
    assert!(
        body["error"]["message"]
            .as_str()
            .unwrap()
            .contains("through its gateway")
    );
    let rogues = world.rogues();
    assert_eq!(rogues[0].credential, Credential::GitHub);
    let told = format!("{challenge} {body} {rogues:?}");
    assert!(!told.contains(&secret[..8]), "{told}");

    let mut world = World::guard(GLOBAL);
    world.request(None, CALL);
    assert_eq!(world.reply().0, 401);
    assert_eq!(
        world.rogues()[0].credential,
        Credential::Opaque,
        "an API key"
    );
}

#[test]
fn who_was_taken_back_or_switched_off_since_stays_out() {
    type Change = fn(&mut Json);
    let cases: [(Change, Credential); 7] = [
        (|s| s["revoked"] = json!(["m1"]), Credential::Revoked),
        (|s| s["revoked"] = json!(["g1"]), Credential::Revoked),
        (
            |s| s["disabled_subjects"] = json!(["alice"]),
            Credential::Disabled,
        ),
        (
            |s| s["agents"]["assistant"]["status"] = json!("disabled"),
            Credential::Disabled,
        ),
        (
            |s| s["stops"] = json!({"subjects": {"alice": NOW + 1}}),
            Credential::Revoked,
        ),
        (
            |s| s["stops"] = json!({"agents": {"assistant": NOW + 1}}),
            Credential::Revoked,
        ),
        (
            |s| s["stops"] = json!({"lockdown": {"subjects": ["bob"]}}),
            Credential::Disabled,
        ),
    ];
    for (change, credential) in cases {
        let mut world = World::guard(LOCAL);
        world.proxy.later_s.set(2);
        world = world.with_snapshot(|snapshot| {
            change(snapshot);
        });
        let mut claims = World::minted();
        claims["derived_from"] = json!(["g1"]);
        let token = world.sign(&claims);
        world.request(Some(&token), CALL);
        world.assert_nothing_forwarded();
        assert_eq!(world.reply().0, 401);
        assert_eq!(world.rogues()[0].credential, credential);
    }
}

#[test]
fn a_signature_that_jwt_authn_has_checked_is_not_checked_again_and_one_that_it_has_not_is_no_good()
{
    let trusting = r#", "signature": "jwt_authn", "jwt_authn": {"payload_in_metadata": "writ"}"#;
    let claims = World::minted();
    let unsigned = |world: &World| {
        let token = world.sign(&claims);
        let (signed, _) = token.rsplit_once('.').unwrap();
        format!("{signed}.AAAA")
    };
    let mut world = World::guard(trusting);
    world.proxy.verified.replace(Some(written(&claims)));
    let token = unsigned(&world);
    world.request(Some(&token), CALL);
    assert_eq!(world.asked_to_spend()["token"], token);

    let mut other = claims.clone();
    other["jti"] = json!("m2");
    for verified in [None, Some(written(&other)), Some(Vec::new())] {
        let mut world = World::guard(trusting);
        let token = world.sign(&claims);
        world.proxy.verified.replace(verified);
        let calls = world.calls();
        world.request(Some(&token), CALL);
        assert_eq!(world.calls(), calls);
        assert_eq!(world.reply().0, 401, "not even a good one");
        world.assert_nothing_forwarded();
    }
    let mut world = World::guard(GLOBAL);
    world.proxy.verified.replace(Some(written(&claims)));
    let token = unsigned(&world);
    world.request(Some(&token), CALL);
    assert_eq!(
        world.reply().0,
        401,
        "metadata counts where it is configured to"
    );
}

#[test]
fn a_body_that_is_too_large_or_has_trailers_stays_out() {
    let mut world = World::guard(GLOBAL);
    let token = world.sign(&World::minted());
    world.request(Some(&token), &" ".repeat(1025));
    assert_eq!(world.reply().0, 413);
    let mut world = World::guard(GLOBAL);
    let token = world.sign(&World::minted());
    world.request(Some(&token), CALL);
    world.exchange = Exchange::new(2);
    let headers = world.proxy.headers.borrow().len();
    world
        .exchange
        .on_request_headers(&mut world.gateway, &world.proxy, false);
    let flow = world
        .exchange
        .on_request_trailers(&mut world.gateway, &world.proxy);
    assert_eq!((flow, world.reply().0), (Flow::Pause, 400));
    assert_eq!(world.proxy.headers.borrow().len(), headers);
    world.assert_nothing_forwarded();
}

fn token(id: usize) -> Spend {
    Spend {
        token_id: format!("t{id}"),
        issued: NOW,
        expires: NOW + 30,
    }
}

#[test]
fn the_memory_is_bounded_and_makes_room_when_tokens_have_expired() {
    let proxy = Proxy::default();
    let ring = Ring::new("ledger", ROW, 0);
    for id in 0..ROW as usize {
        assert_eq!(ring.spend(&proxy, &token(id), NOW), Ok(()), "{id}");
    }
    assert_eq!(ring.spend(&proxy, &token(256), NOW), Err(NotSpent::Full));
    assert_eq!(ring.spend(&proxy, &token(7), NOW), Err(NotSpent::Before));
    assert_eq!(
        ring.spend(&proxy, &token(256), NOW + 29),
        Err(NotSpent::Full)
    );
    // What has run out is forgotten, and is not good again for that.
    let expired = ring.spend(&proxy, &token(7), NOW + 30);
    assert_eq!(expired, Err(NotSpent::Older));
    let later = Spend {
        expires: NOW + 60,
        ..token(256)
    };
    assert_eq!(ring.spend(&proxy, &later, NOW + 30), Ok(()));
    assert_eq!(proxy.shared.borrow().len(), 2, "no key more");
}

#[test]
fn a_large_memory_fills_before_it_refuses() {
    let proxy = Proxy::default();
    let ring = Ring::new("ledger", 16 * ROW, 0);
    let refused = (0..12 * ROW as usize)
        .filter(|id| ring.spend(&proxy, &token(*id), NOW).is_err())
        .count();
    assert_eq!(refused, 0, "three quarters fit");
    assert!(proxy.shared.borrow().len() <= 17);
}

#[test]
fn of_workers_that_spend_one_token_at_once_one_does() {
    let proxy = Proxy::default();
    let ring = Ring::new("ledger", ROW, 0);
    ring.begin(&proxy);
    proxy.meanwhile.borrow_mut().push(|proxy| {
        let other = Ring::new("ledger", ROW, 0);
        assert_eq!(other.spend(proxy, &token(1), NOW), Ok(()));
    });
    assert_eq!(ring.spend(&proxy, &token(1), NOW), Err(NotSpent::Before));
    proxy.meanwhile.borrow_mut().push(|proxy| {
        let other = Ring::new("ledger", ROW, 0);
        assert_eq!(other.spend(proxy, &token(2), NOW), Ok(()));
    });
    assert_eq!(
        ring.spend(&proxy, &token(3), NOW),
        Ok(()),
        "after the other"
    );
    assert_eq!(ring.spend(&proxy, &token(2), NOW), Err(NotSpent::Before));
}

#[test]
fn a_worker_that_loses_every_time_refuses() {
    let proxy = Proxy::default();
    let ring = Ring::new("ledger", ROW, 0);
    ring.begin(&proxy);
    let write: fn(&Proxy) = |proxy| {
        for (_, version) in proxy.shared.borrow_mut().values_mut() {
            *version += 1;
        }
    };
    assert_eq!(ring.spend(&proxy, &token(1), NOW), Ok(()));
    proxy.meanwhile.borrow_mut().extend([write; 100]);
    assert_eq!(ring.spend(&proxy, &token(2), NOW), Err(NotSpent::Busy));
    proxy.meanwhile.borrow_mut().clear();
    assert_eq!(
        ring.spend(&proxy, &token(2), NOW),
        Ok(()),
        "it was not spent"
    );
}

#[test]
fn a_proxy_remembers_since_its_first_worker_began_and_within_what_clocks_may_differ() {
    let proxy = Proxy::default();
    assert_eq!(Ring::new("ledger", ROW, 5).begin(&proxy), Some(NOW));
    proxy.later_s.set(100);
    let ring = Ring::new("ledger", ROW, 5);
    assert_eq!(ring.begin(&proxy), Some(NOW));
    let mut token = token(1);
    token.issued = NOW + 4;
    assert_eq!(ring.spend(&proxy, &token, NOW + 10), Err(NotSpent::Older));
    token.issued = NOW + 5;
    assert_eq!(ring.spend(&proxy, &token, NOW + 10), Ok(()));
    let resized = Ring::new("ledger", 2 * ROW, 5);
    assert_eq!(
        resized.spend(&proxy, &token, NOW + 100),
        Err(NotSpent::Older),
        "another memory has another beginning"
    );
}
