//! What changes while a request is on its way: whoever might call when its headers came may not any more.

use super::*;

type Change = fn(&mut Json);

const TAKEN_BACK: [Change; 5] = [
    |s| s["revoked"] = json!(["g1"]),
    |s| s["disabled_subjects"] = json!(["alice"]),
    |s| s["agents"]["assistant"]["status"] = json!("disabled"),
    |s| s["servers"]["ledger"]["status"] = json!("disabled"),
    |s| s["stops"] = json!({"lockdown": {"subjects": ["bob"]}}),
];

impl World {
    fn granted(mut claims: Json) -> Json {
        claims["derived_from"] = json!(["g1"]);
        claims
    }

    /// Who stands outside is told why.
    fn assert_turned_away(&self) {
        self.assert_nothing_forwarded();
        let (status, body) = self.reply();
        assert!(matches!(status, 401 | 404), "{status} {body}");
    }

    fn time_passes(&mut self, seconds: u64) {
        self.proxy.later_s.set(seconds);
        self.gateway.on_tick(&self.proxy);
    }
}

#[test]
fn what_is_taken_back_while_the_body_is_awaited_is_not_called_with() {
    for change in TAKEN_BACK {
        let mut world = World::new();
        let caller = world.sign(&World::granted(World::caller_claims()));
        world.arrives(Some(&caller), CALL);
        world = world.learns(change);
        let calls = world.calls();
        assert_eq!(world.body_comes(), Flow::Pause);
        world.assert_turned_away();
        assert_eq!(world.calls(), calls, "nothing is minted");
    }
    let mut world = World::new();
    let caller = world.caller();
    world.arrives(Some(&caller), CALL);
    // The token lives for 60 s, and clocks may differ by 5.
    world.time_passes(65);
    world.body_comes();
    world.assert_turned_away();
}

#[test]
fn what_is_taken_back_while_the_service_mints_is_not_called_with() {
    for (message, claims) in [
        (CALL, World::minted_claims(CALL)),
        (LIST, World::discovery_claims()),
    ] {
        for change in TAKEN_BACK {
            let mut world = World::new();
            let caller = world.sign(&World::granted(World::caller_claims()));
            world.request(Some(&caller), message);
            let asked = world.calls();
            world = world.learns(change);
            let minted = json!({"access_token": world.sign(&claims), "token_type": "Bearer"});
            world.answers(200, &minted.to_string());
            world
                .exchange
                .on_answer(&mut world.gateway, &world.proxy, asked);
            world.assert_turned_away();
        }
    }
}

#[test]
fn what_is_taken_back_before_the_body_is_there_does_not_pass_the_guard() {
    let local = r#", "single_use": "local", "clock_skew": "0s""#;
    for (more, message, claims) in [
        ("", CALL, World::minted_claims(CALL)),
        (local, CALL, World::minted_claims(CALL)),
        ("", LIST, World::discovery_claims()),
        (local, LIST, World::discovery_claims()),
    ] {
        let mut claims = World::granted(claims);
        claims["iat"] = json!(NOW);
        for change in TAKEN_BACK {
            let mut world = World::guard(more);
            let token = world.sign(&claims);
            world.arrives(Some(&token), message);
            world = world.learns(change);
            world.body_comes();
            world.assert_turned_away();
            assert_eq!(world.gateway.stats.spent, 0);
        }
        let mut world = World::guard(more);
        let token = world.sign(&claims);
        world.arrives(Some(&token), message);
        // It lives for 30 s, and clocks may differ by 5.
        world.time_passes(35);
        world.body_comes();
        world.assert_turned_away();
        assert_eq!(world.gateway.stats.rogue, 1);
    }
}

#[test]
fn what_is_taken_back_while_the_token_is_spent_does_not_pass_the_guard() {
    for change in TAKEN_BACK {
        let mut world = World::guard("");
        let mut claims = World::granted(World::minted_claims(CALL));
        claims["iat"] = json!(NOW);
        let token = world.sign(&claims);
        world.request(Some(&token), CALL);
        let asked = world.calls();
        world = world.learns(change);
        world.answers(200, r#"{"active": true}"#);
        world
            .exchange
            .on_answer(&mut world.gateway, &world.proxy, asked);
        world.assert_turned_away();
    }
}

#[test]
fn what_a_guard_let_in_ends_when_it_is_taken_back_and_after_an_hour() {
    let let_in = || {
        let mut world = World::guard(r#", "single_use": "local", "clock_skew": "0s""#);
        let mut claims = World::granted(World::minted_claims(CALL));
        claims["iat"] = json!(NOW);
        let token = world.sign(&claims);
        assert_eq!(world.request(Some(&token), CALL), Flow::Continue);
        world.begins("text/event-stream");
        world
    };
    for change in TAKEN_BACK {
        let mut world = let_in();
        assert_eq!(world.ended(), None);
        world = world.learns(change);
        assert!(world.ended().is_some());
    }
    let mut world = let_in();
    // Its token is good for arriving, and no longer than that.
    world.time_passes(60 * 60 - 1);
    assert_eq!(world.ended(), None);
    world.time_passes(60 * 60);
    assert!(world.ended().is_some());
    // One that is over is not told.
    let mut world = let_in();
    world.exchange.on_end(&mut world.gateway, &world.proxy);
    world = world.learns(TAKEN_BACK[0]);
    assert_eq!(world.ended(), None);
}

#[test]
fn nobody_takes_the_place_of_all_others() {
    for guard in [false, true] {
        let make = || match guard {
            true => World::guard(""),
            false => World::new(),
        };
        let mut world = make();
        let claims = |sub: &str| {
            let mut claims = match guard {
                true => World::minted_claims(CALL),
                false => World::caller_claims(),
            };
            claims["sub"] = json!(sub);
            claims
        };
        let alice = world.sign(&claims("alice"));
        let bob = world.sign(&claims("bob"));
        let mut answered = 0;
        for context in 10..10 + 2048 {
            world.exchange = Exchange::new(context);
            world.arrives(Some(&alice), CALL);
            answered += world.proxy.replies.take().len();
        }
        assert_eq!(answered, 0);
        world.exchange = Exchange::new(9);
        world.arrives(Some(&alice), CALL);
        let (status, body) = world.reply();
        assert_eq!(status, 503);
        assert!(body.to_string().contains("of your requests"), "{body}");
        world.proxy.replies.take();
        world.exchange = Exchange::new(8);
        world.arrives(Some(&bob), CALL);
        assert_eq!(
            world.proxy.replies.take().len(),
            0,
            "others have their share"
        );
        // One of hers is over.
        Exchange::new(10).on_end(&mut world.gateway, &world.proxy);
        world.exchange = Exchange::new(7);
        world.arrives(Some(&alice), CALL);
        assert_eq!(world.proxy.replies.take().len(), 0);
    }
}
