//! What is under way ends when its caller may not go on.

use super::*;

impl World {
    /// A stream of `alice`'s that has begun.
    fn streaming(self) -> Self {
        let mut world = self;
        let caller = world.caller();
        world.request(Some(&caller), CALL);
        world.mint(&World::minted_claims(CALL));
        world.begins("text/event-stream");
        world
    }

    /// A newer snapshot comes in.
    pub(super) fn learns(self, change: impl FnOnce(&mut Json)) -> Self {
        self.proxy.later_s.set(self.proxy.later_s.get() + 2);
        self.with_snapshot(|snapshot| {
            change(snapshot);
        })
    }

    /// Why the requests that were ended were, if any.
    pub(super) fn ended(&mut self) -> Option<String> {
        self.gateway
            .end_requests(&self.proxy, |context| context == 2);
        let replies = std::mem::take(&mut *self.proxy.replies.borrow_mut());
        assert!(replies.len() <= 1, "{replies:?}");
        let reply: Json = serde_json::from_str(&replies.first()?.body).unwrap();
        assert_eq!(reply["id"], 7);
        Some(reply["error"]["message"].as_str().unwrap().to_owned())
    }

    fn result(&mut self) -> (CallResult, Option<String>) {
        self.exchange.on_end(&mut self.gateway, &self.proxy);
        match self.events().pop() {
            Some(Event::Outcome(outcome)) => (outcome.result, outcome.reason),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_was_taken_back_ends_what_is_under_way() {
    type Case = (fn(&mut Json), &'static str);
    let cases: [Case; 8] = [
        (|s| s["revoked"] = json!(["c1"]), "revoked"),
        (
            |s| s["disabled_subjects"] = json!(["alice"]),
            "the user is disabled",
        ),
        (
            |s| s["agents"]["assistant"]["status"] = json!("disabled"),
            "not approved",
        ),
        (|s| s["agents"] = json!({}), "not registered"),
        (
            |s| s["servers"]["ledger"]["status"] = json!("disabled"),
            "is switched off; ask an administrator",
        ),
        (
            |s| s["stops"] = json!({"subjects": {"alice": NOW}}),
            "revoked",
        ),
        (
            |s| s["stops"] = json!({"agents": {"assistant": NOW}}),
            "revoked",
        ),
        (
            |s| s["stops"] = json!({"lockdown": {"servers": ["bank"]}}),
            "stopped all calls",
        ),
    ];
    for (change, told) in cases {
        for waits in [false, true] {
            let mut world = World::new().streaming();
            if waits {
                world.exchange = Exchange::new(2);
                let caller = world.caller();
                world.request(Some(&caller), CALL);
                world.mint(&World::minted_claims(CALL));
            }
            assert_eq!(world.ended(), None);
            world = world.learns(change);
            let reason = world.ended().unwrap();
            assert!(reason.contains(told), "{reason}");
            assert_eq!(world.ended(), None, "once");
            assert_eq!(world.result(), (CallResult::Ended, Some(reason)));
        }
    }
}

#[test]
fn other_news_ends_nothing() {
    let mut world = World::new().streaming().learns(|snapshot| {
        snapshot["revoked"] = json!(["another"]);
        snapshot["disabled_subjects"] = json!(["bob"]);
    });
    assert_eq!(world.ended(), None);
    assert_eq!(world.result().0, CallResult::CutOff);
}

#[test]
fn no_stream_outlives_its_token_and_a_call_that_is_waited_for_may() {
    for (content_type, ends) in [("text/event-stream", true), ("application/json", false)] {
        let mut world = World::new().streaming();
        world.exchange = Exchange::new(2);
        let caller = world.caller();
        world.request(Some(&caller), CALL);
        world.mint(&World::minted_claims(CALL));
        world.begins(content_type);
        // The token lives for 60 s, and clocks may differ by 5.
        world.proxy.later_s.set(64);
        assert_eq!(world.ended(), None);
        world.proxy.later_s.set(65);
        assert_eq!(world.ended().is_some(), ends);
    }
}

#[test]
fn a_request_that_its_caller_has_cancelled_was_cancelled() {
    let cancels = |id: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
        )
    };
    let bob = json!({"sub": "bob"});
    for (id, other, expected) in [
        ("7", json!({}), CallResult::Cancelled),
        ("8", json!({}), CallResult::CutOff),
        ("\"7\"", json!({}), CallResult::CutOff),
        ("7", bob, CallResult::CutOff),
    ] {
        let mut world = World::new().streaming();
        let stream = std::mem::replace(&mut world.exchange, Exchange::new(3));
        let mut claims = World::caller_claims();
        claims
            .as_object_mut()
            .unwrap()
            .extend(other.as_object().unwrap().clone());
        let caller = world.sign(&claims);
        let message = cancels(id);
        world.request_in(3, &caller, &message);
        let mut minted = World::discovery_claims();
        minted["sub"] = claims["sub"].clone();
        world.mint(&minted);
        world.exchange = stream;
        assert_eq!(world.result().0, expected, "{id} {other}");
    }
}
