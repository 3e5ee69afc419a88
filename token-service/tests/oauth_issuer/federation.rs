//! Sign-in at identity providers, with one that says whatever it is told to. Real ones are in the end-to-end tests.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use writ_token_service::{
    audit::{Kind, Verdict},
    store::{providers, users},
};

use crate::{
    browser::{Answer, Browser, Request, redeem},
    idp::{Idp, come_back, param, set_out, unsigned, with_secret},
    issuer::{Issuer, PASSWORD, USER},
};

const SECRET: [(&str, &str); 1] = [("IDP_SECRET", crate::idp::CLIENT_SECRET)];

/// Makes the claims of an ID token wrong.
type Change = Box<dyn Fn(&mut Value)>;
/// Makes a token of the claims, with the provider or with a stranger.
type Forge = fn(&Idp, &Idp, &Value) -> String;

pub(crate) async fn issuer_with(toml: &str) -> Issuer {
    Issuer::start_from(toml, &SECRET).await
}

pub(crate) async fn corp() -> (Idp, Issuer) {
    let idp = Idp::start().await;
    let issuer = issuer_with(&idp.toml("corp", "")).await;
    (idp, issuer)
}

/// Who a browser is signed in as: the consent page says so.
pub(crate) async fn signed_in(browser: &Browser, query: &str) -> Option<String> {
    let page = browser.get(query).await;
    let after = page.html.split("Signed in as <strong>").nth(1)?;
    Some(after.split('<').next()?.to_owned())
}

fn was_refused(answer: &Answer, status: u16, told: &str) {
    assert_eq!(answer.status, status, "{}", answer.html);
    assert!(answer.location.is_none());
    assert!(answer.html.contains(told), "{told}: {}", answer.html);
}

#[tokio::test]
async fn a_user_signs_in_at_their_provider_and_gives_an_agent_a_token() {
    let (idp, issuer) = corp().await;
    let (browser, query) = (Browser::new(&issuer), Request::new().query());
    let page = browser.get(&query).await;
    assert!(page.html.contains("Continue with <bdi>The corp</bdi>"));
    assert!(
        !page.html.contains("name=\"password\""),
        "the local directory is for emergencies"
    );

    let out = set_out(&issuer, &browser, "corp", &query).await;
    assert!(out.as_str().starts_with(&format!("{}/authorize?", idp.url)));
    assert_eq!(
        param(&out, "redirect_uri"),
        format!("{}/oauth/callback/corp", issuer.url)
    );
    assert_eq!(param(&out, "scope"), "openid profile email");
    let claims = idp.claims(&issuer, &param(&out, "nonce"), "alice", &json!({}));
    idp.give(&idp.sign("JWT", &claims));
    let back = come_back(
        &issuer,
        &browser,
        "corp",
        &[("state", &param(&out, "state")), ("code", "c1")],
    )
    .await;
    assert_eq!(back.status, 303, "{}", back.html);
    assert_eq!(back.location.as_ref().unwrap().query().unwrap(), query);
    let sent: Vec<(String, String)> = form_urlencoded::parse(idp.forms()[0].as_bytes())
        .into_owned()
        .collect();
    let verifier = &sent.iter().find(|(n, _)| n == "code_verifier").unwrap().1;
    assert_eq!(
        URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)),
        param(&out, "code_challenge")
    );

    let consent = browser.get(&query).await;
    let code = browser
        .press(&query, &consent, "approve")
        .await
        .param("code")
        .unwrap();
    let (status, answer) = redeem(&issuer, &code, &[]).await;
    assert_eq!(status, 200, "{answer}");
    let claims = issuer
        .claims(answer["access_token"].as_str().unwrap())
        .await;
    assert_eq!(claims["sub"], "alice@corp");
    assert_eq!(claims["groups"], json!(["corp:staff"]));

    let record = issuer
        .records()
        .await
        .into_iter()
        .find(|r| r.kind == Kind::SignIn)
        .unwrap();
    assert_eq!(record.subject.as_deref(), Some("alice@corp"));
    assert_eq!(record.detail.unwrap()["provider"], "corp");
    let user = users::find(
        &mut issuer.running.app.store.read().await.unwrap(),
        "alice@corp",
    )
    .await
    .unwrap()
    .unwrap();
    assert_eq!(
        (user.email.as_deref(), user.email_verified),
        (Some("alice@corp.example"), true)
    );
    assert_eq!(user.display_name.as_deref(), Some("Somebody"));
}

#[tokio::test]
async fn a_callback_is_good_once_and_in_the_browser_that_set_out() {
    let (idp, issuer) = corp().await;
    let (mine, other, query) = (
        Browser::new(&issuer),
        Browser::new(&issuer),
        Request::new().query(),
    );
    let out = set_out(&issuer, &mine, "corp", &query).await;
    let claims = idp.claims(&issuer, &param(&out, "nonce"), "alice", &json!({}));
    idp.give(&idp.sign("JWT", &claims));
    let state = param(&out, "state");
    let with = [("state", state.as_str()), ("code", "c")];
    for browser in [&Browser::new(&issuer), &other] {
        other.get(&query).await;
        was_refused(
            &come_back(&issuer, browser, "corp", &with).await,
            403,
            "No sign-in of this browser",
        );
    }
    was_refused(
        &come_back(
            &issuer,
            &mine,
            "corp",
            &[("state", "made-up"), ("code", "c")],
        )
        .await,
        403,
        "No sign-in",
    );
    was_refused(
        &come_back(&issuer, &mine, "corp", &[("code", "c")]).await,
        403,
        "No sign-in",
    );
    assert!(idp.forms().is_empty(), "none of these codes were tried");
    assert_eq!(
        come_back(&issuer, &mine, "corp", &with).await.status,
        303,
        "nobody has spoiled it"
    );
    was_refused(
        &come_back(&issuer, &mine, "corp", &with).await,
        403,
        "No sign-in",
    );
    assert_eq!(idp.forms().len(), 1);
}

#[tokio::test]
async fn a_sign_in_that_takes_too_long_is_over() {
    let (_idp, issuer) = corp().await;
    let (browser, query) = (Browser::new(&issuer), Request::new().query());
    let out = set_out(&issuer, &browser, "corp", &query).await;
    issuer.pass(601);
    let back = come_back(
        &issuer,
        &browser,
        "corp",
        &[("state", &param(&out, "state")), ("code", "c")],
    )
    .await;
    was_refused(&back, 403, "No sign-in of this browser");
}

#[tokio::test]
async fn an_id_token_that_is_not_wholly_right_signs_nobody_in() {
    let (idp, issuer) = corp().await;
    let (browser, query) = (Browser::new(&issuer), Request::new().query());
    let now = issuer.now();
    let changed = |changes: Value| move |claims: &mut Value| crate::idp::merge(claims, &changes);
    let cases: Vec<(&str, Change)> = vec![
        ("nonce", Box::new(changed(json!({"nonce": "another"})))),
        ("no nonce", Box::new(changed(json!({"nonce": null})))),
        (
            "issuer",
            Box::new(changed(json!({"iss": "https://elsewhere.example"}))),
        ),
        (
            "issuer with a slash",
            Box::new(changed(json!({"iss": format!("{}/", idp.url)}))),
        ),
        (
            "another client's",
            Box::new(changed(json!({"aud": "another"}))),
        ),
        (
            "several clients'",
            Box::new(changed(json!({"aud": ["writ", "another"]}))),
        ),
        (
            "authorized party",
            Box::new(changed(json!({"azp": "another"}))),
        ),
        ("expired", Box::new(changed(json!({"exp": now - 60})))),
        (
            "from the future",
            Box::new(changed(json!({"iat": now + 600, "exp": now + 900}))),
        ),
        (
            "access token's hash",
            Box::new(changed(json!({"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}))),
        ),
        ("no subject", Box::new(changed(json!({"sub": ""})))),
        (
            "endless subject",
            Box::new(changed(json!({"sub": "x".repeat(256)}))),
        ),
    ];
    for (name, change) in cases {
        let out = set_out(&issuer, &browser, "corp", &query).await;
        let mut claims = idp.claims(&issuer, &param(&out, "nonce"), "mallory", &json!({}));
        change(&mut claims);
        idp.give(&idp.sign("JWT", &claims));
        let back = come_back(
            &issuer,
            &browser,
            "corp",
            &[("state", &param(&out, "state")), ("code", "c")],
        )
        .await;
        assert_eq!((name, back.status), (name, 400), "{}", back.html);
        assert!(
            back.html.contains("You are not signed in with The corp"),
            "{name}"
        );
        assert_eq!(signed_in(&browser, &query).await, None, "{name}");
        let record = issuer
            .records()
            .await
            .into_iter()
            .find(|r| r.kind == Kind::SignIn)
            .unwrap();
        assert_eq!(record.decision, Some(Verdict::Deny), "{name}");
    }
}

#[tokio::test]
async fn an_id_token_that_its_provider_did_not_sign_signs_nobody_in() {
    let (idp, issuer) = corp().await;
    let (browser, query) = (Browser::new(&issuer), Request::new().query());
    let stranger = Idp::start().await;
    let forgeries: [(&str, Forge); 7] = [
        ("unsigned", |_, _, claims| unsigned("JWT", claims)),
        ("with the client's secret", |_, _, claims| {
            with_secret(claims)
        }),
        ("by another key of the same name", |_, stranger, claims| {
            stranger.sign("JWT", claims)
        }),
        ("with its signature cut off", |idp, _, claims| {
            let token = idp.sign("JWT", claims);
            format!("{}.", token.rsplit_once('.').unwrap().0)
        }),
        ("as an access token", |idp, _, claims| {
            idp.sign("at+jwt", claims)
        }),
        ("as a logout token", |idp, _, claims| {
            idp.sign("logout+jwt", claims)
        }),
        ("not at all", |_, _, _| "not.a.token".to_owned()),
    ];
    for (name, forge) in forgeries {
        let out = set_out(&issuer, &browser, "corp", &query).await;
        let claims = idp.claims(&issuer, &param(&out, "nonce"), "mallory", &json!({}));
        idp.give(&forge(&idp, &stranger, &claims));
        let back = come_back(
            &issuer,
            &browser,
            "corp",
            &[("state", &param(&out, "state")), ("code", "c")],
        )
        .await;
        assert_eq!((name, back.status), (name, 400), "{}", back.html);
        assert_eq!(signed_in(&browser, &query).await, None, "{name}");
    }
}

#[tokio::test]
async fn an_answer_of_another_provider_is_not_taken_for_this_ones() {
    let idp = Idp::start().await;
    idp.announce(json!({"authorization_response_iss_parameter_supported": true}));
    let other = Idp::start().await;
    let issuer = issuer_with(&format!(
        "{}{}",
        idp.toml("corp", ""),
        other.toml("other", "")
    ))
    .await;
    let (browser, query) = (Browser::new(&issuer), Request::new().query());
    for iss in [Some(other.url.as_str()), None] {
        let out = set_out(&issuer, &browser, "corp", &query).await;
        let state = param(&out, "state");
        let mut with = vec![("state", state.as_str()), ("code", "c")];
        with.extend(iss.map(|iss| ("iss", iss)));
        let back = come_back(&issuer, &browser, "corp", &with).await;
        was_refused(&back, 400, "not from where you were sent");
    }
    let out = set_out(&issuer, &browser, "corp", &query).await;
    let with = [
        ("state", param(&out, "state")),
        ("code", "c".to_owned()),
        ("iss", other.url.clone()),
    ];
    let with = with.each_ref().map(|(n, v)| (*n, v.as_str()));
    was_refused(
        &come_back(&issuer, &browser, "other", &with).await,
        403,
        "No sign-in of this browser",
    );
    assert!(
        idp.forms().is_empty() && other.forms().is_empty(),
        "no code was sent anywhere"
    );

    let out = set_out(&issuer, &browser, "corp", &query).await;
    let claims = idp.claims(&issuer, &param(&out, "nonce"), "alice", &json!({}));
    idp.give(&idp.sign("JWT", &claims));
    let with = [
        ("state", param(&out, "state")),
        ("code", "c".to_owned()),
        ("iss", idp.url.clone()),
    ];
    let with = with.each_ref().map(|(n, v)| (*n, v.as_str()));
    assert_eq!(
        come_back(&issuer, &browser, "corp", &with).await.status,
        303
    );
}

#[tokio::test]
async fn what_a_provider_says_went_wrong_is_explained_and_not_echoed() {
    let (_idp, issuer) = corp().await;
    let (browser, query) = (Browser::new(&issuer), Request::new().query());
    for (error, told) in [
        ("access_denied", "cancelled or not allowed"),
        ("<script>alert(1)</script>", "an administrator has to look"),
    ] {
        let out = set_out(&issuer, &browser, "corp", &query).await;
        let state = param(&out, "state");
        let with = [
            ("state", state.as_str()),
            ("error", error),
            ("error_description", "<b>x</b>"),
        ];
        let back = come_back(&issuer, &browser, "corp", &with).await;
        was_refused(&back, 400, told);
        assert!(
            !back.html.contains("script>alert") && !back.html.contains("<b>x"),
            "{}",
            back.html
        );
        assert!(back.html.contains("Back to sign-in"));
    }
}

#[tokio::test]
async fn a_provider_changes_its_keys_and_people_still_sign_in() {
    let (idp, issuer) = corp().await;
    let query = Request::new().query();
    for kid in ["k2", "k3"] {
        let browser = Browser::new(&issuer);
        let back = idp
            .sign_in(&issuer, (&browser, "corp", &query), "alice", &json!({}))
            .await;
        assert_eq!(back.status, 303, "{}", back.html);
        idp.rotate(kid);
    }
}

#[tokio::test]
async fn claims_that_are_missing_are_asked_for_and_must_be_of_the_same_person() {
    let (idp, issuer) = corp().await;
    let query = Request::new().query();
    let browser = Browser::new(&issuer);
    let fewer = json!({"groups": null, "preferred_username": null});
    idp.tell(json!({"sub": "u1", "preferred_username": "ally", "groups": ["ops"]}));
    let back = idp
        .sign_in(&issuer, (&browser, "corp", &query), "u1", &fewer)
        .await;
    assert_eq!(back.status, 303, "{}", back.html);
    assert_eq!(
        signed_in(&browser, &query).await.as_deref(),
        Some("ally@corp")
    );

    let browser = Browser::new(&issuer);
    let back = idp
        .sign_in(&issuer, (&browser, "corp", &query), "u2", &fewer)
        .await;
    was_refused(&back, 400, "does not say what is needed");
}

#[tokio::test]
async fn an_account_is_who_its_provider_says_and_nothing_else() {
    let one = Idp::start().await;
    let two = Idp::start().await;
    let issuer = issuer_with(&format!("{}{}", one.toml("one", ""), two.toml("two", ""))).await;
    let query = Request::new().query();
    let name = async |idp: &Idp, provider: &str, subject: &str, changes: Value| {
        let browser = Browser::new(&issuer);
        let back = idp
            .sign_in(&issuer, (&browser, provider, &query), subject, &changes)
            .await;
        assert_eq!(back.status, 303, "{}", back.html);
        signed_in(&browser, &query).await.unwrap()
    };
    let same = json!({"email": "alice@corp.example", "preferred_username": "alice"});
    let first = name(&one, "one", "1", same.clone()).await;
    assert_eq!(first, "alice@one");
    assert_eq!(
        name(&two, "two", "1", same.clone()).await,
        "alice@two",
        "one subject at two providers is two people"
    );
    let reused = name(&one, "one", "2", same).await;
    assert_ne!(
        reused, first,
        "a name that was given to somebody else is another account"
    );
    let renamed = json!({"email": "smith@corp.example", "preferred_username": "alice.smith"});
    assert_eq!(
        name(&one, "one", "1", renamed).await,
        first,
        "a person who is renamed stays the same"
    );
}

#[tokio::test]
async fn a_provider_cannot_take_over_a_local_user_or_an_agent() {
    let idp = Idp::start().await;
    let issuer = issuer_with(&idp.toml("corp", "user_names = \"as_given\"")).await;
    let query = Request::new().query();
    for taken in [USER, crate::issuer::ROBOT] {
        let browser = Browser::new(&issuer);
        let back = idp
            .sign_in(&issuer, (&browser, "corp", &query), taken, &json!({}))
            .await;
        assert_eq!(back.status, 303, "{}", back.html);
        let name = signed_in(&browser, &query).await.unwrap();
        assert!(name.starts_with(&format!("{taken}-")), "{name}");
    }
}

#[tokio::test]
async fn groups_follow_the_provider_at_each_sign_in() {
    let idp = Idp::start().await;
    let rules = "[federation.provider.groups]\nmap = { \"eng-all\" = \"engineering\" }\nallow = [\"audit\"]";
    let issuer = issuer_with(&idp.toml("corp", rules)).await;
    let (browser, query) = (Browser::new(&issuer), Request::new().query());
    for (given, here) in [
        (
            json!(["eng-all", "audit", "finance"]),
            vec!["corp:audit", "engineering"],
        ),
        (json!(["finance"]), vec![]),
    ] {
        let back = idp
            .sign_in(
                &issuer,
                (&browser, "corp", &query),
                "alice",
                &json!({"groups": given}),
            )
            .await;
        assert_eq!(back.status, 303, "{}", back.html);
        let mut conn = issuer.running.app.store.read().await.unwrap();
        assert_eq!(
            users::find(&mut conn, "alice@corp")
                .await
                .unwrap()
                .unwrap()
                .groups,
            here
        );
    }
}

#[tokio::test]
async fn the_provider_is_chosen_by_the_domain_of_an_address() {
    let one = Idp::start().await;
    let two = Idp::start().await;
    let issuer = issuer_with(&format!(
        "{}{}",
        one.toml("one", "email_domains = [\"one.example\"]"),
        two.toml(
            "two",
            "email_domains = [\"two.example\", \"second.example\"]"
        )
    ))
    .await;
    let (browser, query) = (Browser::new(&issuer), Request::new().query());
    let page = browser.get(&query).await;
    assert!(page.html.contains("name=\"email\"") && !page.html.contains("Continue with"));
    let say = async |email: &str| {
        let csrf = browser.get(&query).await.field("csrf");
        browser
            .post(
                &query,
                &[("csrf", &csrf), ("email", email), ("action", "email")],
            )
            .await
    };
    for (email, idp) in [
        ("a@one.example", &one),
        ("B@TWO.example", &two),
        ("c@second.example", &two),
    ] {
        let page = say(email).await;
        assert_eq!(page.status, 200);
        let link = page
            .html
            .split("href=\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap();
        let link = link.replace("&#38;", "&").replace("&amp;", "&");
        assert!(
            link.starts_with(&format!("{}/authorize?", idp.url)),
            "{email}: {link}"
        );
        assert_eq!(param(&link.parse().unwrap(), "login_hint"), email);
    }
    for email in [
        "a@elsewhere.example",
        "one.example",
        "a@one.example.evil.example",
        "\"><script>@x.example",
    ] {
        let page = say(email).await;
        assert!(
            page.html
                .contains("Nobody signs in here with an address like this one."),
            "{email}"
        );
        assert!(!page.html.contains("<script>"));
    }
}

#[tokio::test]
async fn with_the_provider_out_of_reach_there_is_a_way_in_and_the_page_says_so() {
    let (idp, issuer) = corp().await;
    idp.go_down();
    let (browser, query) = (Browser::new(&issuer), Request::new().query());
    let page = browser
        .go(&format!("{}/oauth/sign-in/corp?{query}", issuer.url))
        .await;
    was_refused(&page, 503, "The corp is out of reach");
    assert!(
        page.html.contains("sign in with that") && page.html.contains("sign_in=local"),
        "{}",
        page.html
    );
    let local = format!("{query}&sign_in=local");
    let signed = browser.sign_in_as(&local, USER, PASSWORD).await;
    assert_eq!(signed.status, 303, "{}", signed.html);
    assert_eq!(signed_in(&browser, &local).await.as_deref(), Some(USER));
    let record = issuer
        .records()
        .await
        .into_iter()
        .find(|r| r.kind == Kind::SignIn)
        .unwrap();
    assert_eq!(record.detail.unwrap()["local_directory"], "break_glass");
}

#[tokio::test]
async fn a_closed_local_directory_takes_no_password() {
    let idp = Idp::start().await;
    let issuer = issuer_with(&format!(
        "[federation]\nlocal_directory = false\n{}",
        idp.toml("corp", "")
    ))
    .await;
    let (browser, query) = (Browser::new(&issuer), Request::new().query());
    for query in [query.clone(), format!("{query}&sign_in=local")] {
        assert!(!browser.get(&query).await.html.contains("name=\"password\""));
        let csrf = browser
            .go(&format!("{}/oauth/sign-in/corp?{query}", issuer.url))
            .await;
        assert_eq!(csrf.status, 303);
        assert_eq!(browser.sign_in_as(&query, USER, PASSWORD).await.status, 403);
    }
}

#[tokio::test]
async fn how_long_ago_somebody_proved_themselves_is_checked() {
    let idp = Idp::start().await;
    let issuer = issuer_with(&idp.toml("corp", "max_age = \"1h\"")).await;
    let query = Request::new().query();
    let now = issuer.now();
    for (auth_time, status) in [
        (json!(now - 60), 303),
        (json!(now - 7200), 400),
        (Value::Null, 400),
    ] {
        let browser = Browser::new(&issuer);
        let out = set_out(&issuer, &browser, "corp", &query).await;
        assert_eq!(param(&out, "max_age"), "3600");
        let back = idp
            .sign_in(
                &issuer,
                (&browser, "corp", &query),
                "alice",
                &json!({"auth_time": auth_time}),
            )
            .await;
        assert_eq!(back.status, status, "{auth_time}: {}", back.html);
    }
}

#[tokio::test]
async fn a_client_that_wants_a_fresh_sign_in_has_the_provider_asked_for_one() {
    let (_idp, issuer) = corp().await;
    for (asked, value, told) in [
        ("prompt", "login", Some(("prompt", "login"))),
        (
            "prompt",
            "select_account",
            Some(("prompt", "select_account")),
        ),
        ("max_age", "60", Some(("max_age", "60"))),
        ("prompt", "consent", None),
    ] {
        let query = Request::new().with(asked, value).query();
        let out = set_out(&issuer, &Browser::new(&issuer), "corp", &query).await;
        match told {
            Some((name, value)) => assert_eq!(param(&out, name), value, "{asked}"),
            None => assert!(!out.query_pairs().any(|(n, _)| n == "prompt"), "{out}"),
        }
    }
}

#[tokio::test]
async fn a_provider_that_is_switched_off_takes_its_people_with_it() {
    let (idp, issuer) = corp().await;
    let (browser, query) = (Browser::new(&issuer), Request::new().query());
    idp.sign_in(&issuer, (&browser, "corp", &query), "alice", &json!({}))
        .await;
    let out = set_out(&issuer, &Browser::new(&issuer), "corp", &query).await;
    let switch = async |active| {
        let mut tx = issuer.running.app.store.write().await.unwrap();
        providers::set_active(tx.conn(), "corp", active)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    };
    switch(false).await;
    drop(out);
    assert_eq!(signed_in(&browser, &query).await, None);
    let registry = issuer.running.app.current_registry().await.unwrap();
    assert!(registry.is_disabled_subject("alice@corp"));
    assert!(!registry.is_disabled_subject(USER));
    assert!(!browser.get(&query).await.html.contains("Continue with"));
    let page = browser
        .go(&format!("{}/oauth/sign-in/corp?{query}", issuer.url))
        .await;
    was_refused(&page, 403, "switched off");
    switch(true).await;
    assert!(signed_in(&browser, &query).await.is_some());
}

#[tokio::test]
async fn a_provider_whose_document_leads_to_plain_http_or_another_issuer_is_not_used() {
    let (idp, issuer) = corp().await;
    let (browser, query) = (Browser::new(&issuer), Request::new().query());
    for wrong in [
        json!({"token_endpoint": "http://idp.example/token"}),
        json!({"issuer": "https://idp.example"}),
        json!({"jwks_uri": null}),
    ] {
        idp.announce(wrong.clone());
        let page = browser
            .go(&format!("{}/oauth/sign-in/corp?{query}", issuer.url))
            .await;
        assert_eq!(page.status, 503, "{wrong}");
        assert!(
            !page.html.contains("idp.example"),
            "the log says it, not the page"
        );
    }
}
