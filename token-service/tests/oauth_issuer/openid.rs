use serde_json::{Value, json};
use writ_token_service::store::registrations::Registered;

use crate::{
    browser::{Browser, REDIRECT, Request, VERIFIER},
    issuer::{
        CONFIDENTIAL, Issuer, LASTING, PASSWORD, PUBLIC, RESOURCE, SECRET, USER, WEB_REDIRECT,
    },
};

fn identity(scope: &str) -> Request {
    Request::new()
        .with("client_id", LASTING)
        .without("resource")
        .with("scope", scope)
        .with("nonce", "n-0S6_WzA2Mj")
}

async fn tokens(issuer: &Issuer, request: &Request) -> Value {
    let code = Browser::new(issuer).code(request).await;
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", LASTING),
        ("code", &code),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
    ];
    let (status, answer) = issuer.token(&form).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

/// Verifies an ID token with the published keys and an independent library.
async fn id_token(issuer: &Issuer, token: &str) -> Value {
    let jwks: jsonwebtoken::jwk::JwkSet = reqwest::get(format!("{}/oauth/jwks", issuer.url))
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let header = jsonwebtoken::decode_header(token).unwrap();
    assert_eq!(header.typ.as_deref(), Some("JWT"));
    let jwk = jwks.find(header.kid.as_deref().unwrap()).unwrap();
    let mut validation = jsonwebtoken::Validation::new(header.alg);
    validation.set_issuer(&[&issuer.url]);
    validation.set_audience(&[LASTING]);
    let key = jsonwebtoken::DecodingKey::from_jwk(jwk).unwrap();
    jsonwebtoken::decode(token, &key, &validation)
        .unwrap()
        .claims
}

async fn userinfo(issuer: &Issuer, token: &str) -> (u16, String, Value) {
    let get = reqwest::Client::new().get(format!("{}/oauth/userinfo", issuer.url));
    let response = get.bearer_auth(token).send().await.unwrap();
    let challenge = response.headers().get("www-authenticate");
    let challenge = challenge.map_or("", |c| c.to_str().unwrap()).to_owned();
    let status = response.status().as_u16();
    (status, challenge, response.json().await.unwrap())
}

#[tokio::test]
async fn an_application_learns_who_signed_in_and_nothing_else() {
    for alg in ["EdDSA", "ES256", "RS256"] {
        let issuer = Issuer::start_with(&[("WRIT_TOKENS__SIGNING_ALG", alg)]).await;
        let answer = tokens(&issuer, &identity("openid profile groups")).await;
        assert_eq!(answer["scope"], "openid profile groups");
        let claims = id_token(&issuer, answer["id_token"].as_str().unwrap()).await;
        assert_eq!(claims["sub"], USER);
        assert_eq!(claims["azp"], LASTING);
        assert_eq!(claims["nonce"], "n-0S6_WzA2Mj");
        assert_eq!(claims["preferred_username"], USER);
        assert_eq!(claims["groups"], json!(["finance", "staff"]));
        assert!(claims["auth_time"].as_i64().unwrap() <= issuer.now());
        assert!(claims["at_hash"].is_string() && claims["sid"].is_string());
        let access = answer["access_token"].as_str().unwrap();
        let told = issuer.claims(access).await;
        assert_eq!(told["aud"], format!("{}/oauth/userinfo", issuer.url));

        let (status, _, info) = userinfo(&issuer, access).await;
        assert_eq!(status, 200);
        assert_eq!(info["sub"], claims["sub"]);
        assert_eq!(info["groups"], json!(["finance", "staff"]));
        let post = reqwest::Client::new().post(format!("{}/oauth/userinfo", issuer.url));
        let posted = post.form(&[("access_token", access)]).send().await.unwrap();
        assert_eq!(posted.json::<Value>().await.unwrap(), info);

        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", LASTING),
            ("refresh_token", answer["refresh_token"].as_str().unwrap()),
        ];
        issuer.pass(60);
        let (_, second) = issuer.token(&form).await;
        let again = id_token(&issuer, second["id_token"].as_str().unwrap()).await;
        for same in ["sub", "aud", "auth_time", "sid"] {
            assert_eq!(again[same], claims[same], "{same}");
        }
        assert!(again.get("nonce").is_none());
    }
}

#[tokio::test]
async fn userinfo_tells_only_whom_the_user_allowed() {
    let issuer = Issuer::start().await;
    let answer = tokens(&issuer, &identity("openid")).await;
    let access = answer["access_token"].as_str().unwrap();
    let (_, _, info) = userinfo(&issuer, access).await;
    assert_eq!(info, json!({"sub": USER}));

    let beside = identity("accounts:read openid").with("resource", RESOURCE);
    let both = tokens(&issuer, &beside).await;
    assert_eq!(
        userinfo(&issuer, both["access_token"].as_str().unwrap())
            .await
            .0,
        200
    );
    let plain = tokens(&issuer, &Request::new().with("client_id", LASTING)).await;
    assert!(plain.get("id_token").is_none());
    let (status, challenge, _) = userinfo(&issuer, plain["access_token"].as_str().unwrap()).await;
    assert_eq!(status, 403);
    assert!(challenge.contains("insufficient_scope"), "{challenge}");

    let id_token = answer["id_token"].as_str().unwrap();
    for (token, why) in [
        ("made-up", "no token"),
        (id_token, "an ID token opens nothing"),
    ] {
        let (status, challenge, _) = userinfo(&issuer, token).await;
        assert_eq!(status, 401, "{why}");
        assert!(challenge.contains("invalid_token"), "{why}");
    }
    let bare = reqwest::get(format!("{}/oauth/userinfo", issuer.url))
        .await
        .unwrap();
    assert_eq!(bare.status(), 401);
    let challenge = bare.headers()["www-authenticate"].to_str().unwrap();
    assert!(!challenge.contains("error"), "{challenge}");

    let form = [("client_id", LASTING), ("token", access)];
    let revoke = reqwest::Client::new().post(format!("{}/oauth/revoke", issuer.url));
    assert_eq!(revoke.form(&form).send().await.unwrap().status(), 200);
    assert_eq!(userinfo(&issuer, access).await.0, 401, "given back");
    issuer.disable_user().await;
    let access = both["access_token"].as_str().unwrap();
    assert_eq!(
        userinfo(&issuer, access).await.0,
        401,
        "the user is disabled"
    );
}

#[tokio::test]
async fn a_client_of_openid_connect_finds_everything() {
    let plain = Issuer::start().await;
    let below = Issuer::start_with(&[("WRIT_ISSUER", "https://id.test/writ")]).await;
    for (url, issuer) in [
        (
            format!("{}/.well-known/openid-configuration", plain.url),
            plain.url.as_str(),
        ),
        (
            format!("{}/writ/.well-known/openid-configuration", below.url),
            "https://id.test/writ",
        ),
        (
            format!("{}/.well-known/openid-configuration/writ", below.url),
            "https://id.test/writ",
        ),
    ] {
        let found: Value = reqwest::get(&url).await.unwrap().json().await.unwrap();
        assert_eq!(found["issuer"], issuer, "{url}");
        assert_eq!(
            found["userinfo_endpoint"],
            format!("{issuer}/oauth/userinfo")
        );
        assert_eq!(
            found["pushed_authorization_request_endpoint"],
            format!("{issuer}/oauth/par")
        );
        assert_eq!(found["subject_types_supported"], json!(["public"]));
        assert_eq!(
            found["id_token_signing_alg_values_supported"],
            json!(["EdDSA"])
        );
    }
}

#[tokio::test]
async fn no_page_is_shown_to_whom_none_may_be() {
    let issuer = Issuer::start().await;
    let browser = Browser::new(&issuer);
    let silent = Request::new().with("prompt", "none").query();
    let told = browser.get(&silent).await;
    assert_eq!(told.param("error").as_deref(), Some("login_required"));
    assert_eq!(told.param("iss").as_deref(), Some(issuer.url.as_str()));
    assert_eq!(told.param("state").as_deref(), Some("st&te=1"));
    let query = Request::new().query();
    let page = browser.consent_page(&query).await;
    let told = browser.get(&silent).await;
    assert_eq!(told.param("error").as_deref(), Some("consent_required"));
    browser.press(&query, &page, "approve").await;
    let told = browser.get(&silent).await;
    assert_eq!(
        told.param("error").as_deref(),
        Some("consent_required"),
        "anything on this computer could be this client"
    );
}

#[tokio::test]
async fn who_agreed_before_is_not_asked_the_same_again() {
    let issuer = Issuer::start().await;
    let browser = Browser::new(&issuer);
    let ask = |scope: &str| {
        Request::new()
            .with("client_id", CONFIDENTIAL)
            .with("redirect_uri", WEB_REDIRECT)
            .with("scope", scope)
    };
    let both = ask("accounts:read transfers:write");
    browser.code(&both).await;
    let again = browser.get(&ask("accounts:read").query()).await;
    let code = again.param("code").expect("a part of it");
    let form = [
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("code_verifier", VERIFIER),
    ];
    let (status, answer) = issuer.token_with(Some((CONFIDENTIAL, SECRET)), &form).await;
    assert_eq!(
        (status, answer["scope"].as_str()),
        (200, Some("accounts:read"))
    );
    let silent = browser
        .get(&both.clone().with("prompt", "none").query())
        .await;
    assert!(silent.param("code").is_some());
    for (request, why) in [
        (ask("accounts:read openid"), "more"),
        (
            both.clone().with("prompt", "consent"),
            "the client wants it",
        ),
    ] {
        let page = browser.get(&request.query()).await;
        assert!(page.html.contains("value=\"approve\""), "{why}");
    }
}

#[tokio::test]
async fn what_was_agreed_to_ends_with_the_server_whoever_has_its_name_next() {
    let issuer = Issuer::start().await;
    let browser = Browser::new(&issuer);
    let request = Request::new()
        .with("client_id", CONFIDENTIAL)
        .with("redirect_uri", WEB_REDIRECT)
        .with("scope", "accounts:read");
    browser.code(&request).await;
    assert!(browser.get(&request.query()).await.param("code").is_some());
    let app = &issuer.running.app;
    let server = app.registry().server("ledger").unwrap().as_ref().clone();
    let now = jiff::Timestamp::now();
    let removed = app.store.remove(Registered::Server, "ledger", now).await;
    removed.unwrap();
    app.store.add_server(&server, now).await.unwrap();
    let page = browser.get(&request.query()).await;
    assert!(page.html.contains("value=\"approve\""), "{}", page.html);
}

#[tokio::test]
async fn a_client_that_wants_a_fresh_sign_in_gets_one() {
    let issuer = Issuer::start().await;
    for (name, value) in [("prompt", "login"), ("max_age", "60")] {
        let browser = Browser::new(&issuer);
        browser.consent_page(&Request::new().query()).await;
        issuer.pass(120);
        let request = Request::new().with(name, value).with("login_hint", USER);
        let query = request.query();
        let page = browser.get(&query).await;
        assert!(page.html.contains("<h1>Sign in</h1>"), "{name}");
        assert!(
            page.html.contains("value=\"alice\""),
            "the hint is filled in"
        );
        let csrf = page.field("csrf");
        let forced = [
            ("csrf", csrf.as_str()),
            ("scope", "accounts:read"),
            ("action", "approve"),
        ];
        let answer = browser.post(&query, &forced).await;
        assert_eq!(answer.param("code"), None, "{name}: no way around it");
        let signed_in = browser.sign_in_as(&query, USER, PASSWORD).await;
        assert_eq!(signed_in.status, 303);
        let page = browser.get(&query).await;
        let answer = browser.press(&query, &page, "approve").await;
        assert!(answer.param("code").is_some(), "{name}: {answer:?}");
        if name == "prompt" {
            let once_more = browser.get(&query).await;
            assert!(once_more.html.contains("<h1>Sign in</h1>"), "each time");
        }
    }
    let told = Browser::new(&issuer)
        .get(&Request::new().with("prompt", "none login").query())
        .await;
    assert_eq!(told.param("error").as_deref(), Some("invalid_request"));
}

#[tokio::test]
async fn two_tabs_of_a_browser_do_not_get_in_each_others_way() {
    let issuer = Issuer::start().await;
    let browser = Browser::new(&issuer);
    let one = Request::new().with("state", "one").query();
    let two = Request::new().with("state", "two").query();
    browser.get(&two).await;
    let first = browser.consent_page(&one).await;
    let second = browser.get(&two).await;
    let answer = browser.press(&one, &first, "approve").await;
    assert_eq!(answer.param("state").as_deref(), Some("one"));
    let answer = browser.press(&two, &second, "approve").await;
    assert_eq!(answer.param("state").as_deref(), Some("two"));
    assert!(answer.param("code").is_some());
}

#[tokio::test]
async fn the_consent_page_tells_identity_from_tools_and_admins_from_strangers() {
    let issuer = Issuer::start().await;
    let query = identity("openid email offline_access").query();
    let page = Browser::new(&issuer).consent_page(&query).await;
    for shown in [
        "see your e-mail address",
        "while you are away",
        "your administrator",
    ] {
        assert!(page.html.contains(shown), "{shown}: {}", page.html);
    }
    assert!(!page.html.contains("Policy decides"));
    let mut stranger = crate::issuer::agent(
        "stranger",
        writ_token_service::registry::AuthMethod::None,
        &["http://127.0.0.1/callback"],
    );
    stranger.origin = writ_token_service::registry::Origin::Dynamic;
    let store = &issuer.running.app.store;
    store
        .add_agent(&stranger, jiff::Timestamp::now())
        .await
        .unwrap();
    let query = Request::new().with("client_id", "stranger").query();
    let page = Browser::new(&issuer).consent_page(&query).await;
    assert!(page.html.contains("registered itself"));
}

#[tokio::test]
async fn a_request_may_come_as_a_form() {
    let issuer = Issuer::start().await;
    let post = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap()
        .post(format!("{}/oauth/authorize", issuer.url))
        .header("content-type", "application/x-www-form-urlencoded");
    let query = Request::new().query();
    let answer = post.body(query.clone()).send().await.unwrap();
    assert_eq!(answer.status(), 303);
    let location = answer.headers()["location"].to_str().unwrap();
    assert_eq!(location, format!("/oauth/authorize?{query}"));
}

#[tokio::test]
async fn a_client_in_a_web_page_may_use_what_takes_no_cookie() {
    let issuer = Issuer::start().await;
    let http = reqwest::Client::new();
    for path in [
        "/oauth/token",
        "/oauth/par",
        "/oauth/userinfo",
        "/oauth/register",
    ] {
        let preflight = http
            .request(reqwest::Method::OPTIONS, format!("{}{path}", issuer.url))
            .header("origin", "https://inspector.test")
            .header("access-control-request-method", "POST")
            .send()
            .await
            .unwrap();
        assert_eq!(preflight.status(), 204, "{path}");
        assert_eq!(preflight.headers()["access-control-allow-origin"], "*");
        let allowed = preflight.headers()["access-control-allow-headers"]
            .to_str()
            .unwrap();
        assert!(allowed.contains("authorization"), "{path}");
        assert!(
            !preflight
                .headers()
                .contains_key("access-control-allow-credentials")
        );
    }
    let form = [("grant_type", "authorization_code"), ("client_id", PUBLIC)];
    let post = http.post(format!("{}/oauth/token", issuer.url)).form(&form);
    let refused = post.send().await.unwrap();
    assert_eq!(refused.headers()["access-control-allow-origin"], "*");
    let page = http
        .get(format!("{}/oauth/authorize", issuer.url))
        .send()
        .await
        .unwrap();
    assert!(!page.headers().contains_key("access-control-allow-origin"));
}
