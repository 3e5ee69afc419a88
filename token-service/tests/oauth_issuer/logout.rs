//! The end of a sign-in: by the provider, by an administrator, by the client or the user.

use serde_json::{Value, json};
use writ_token_service::{
    audit::Kind,
    registry::{Agent, AuthMethod, ClientMetadata},
    store::{registrations::Registered, users},
};

use crate::{
    browser::{Browser, Request, VERIFIER, redeem},
    federation::{corp, signed_in},
    idp::{CLIENT_ID, Idp, come_back, merge, param, set_out, unsigned, with_secret},
    issuer::{Issuer, LASTING, PASSWORD, USER, agent},
};

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

fn logout_claims(idp: &Idp, issuer: &Issuer, changes: &Value) -> Value {
    let now = issuer.now();
    let mut claims = json!({
        "iss": idp.url, "aud": CLIENT_ID, "iat": now, "exp": now + 120, "jti": uuid::Uuid::now_v7().to_string(),
        "sub": "alice", "events": { EVENT: {} },
    });
    merge(&mut claims, changes);
    claims
}

async fn send(issuer: &Issuer, token: &str) -> u16 {
    let url = format!("{}/oauth/backchannel-logout/corp", issuer.url);
    let sent = reqwest::Client::new()
        .post(url)
        .form(&[("logout_token", token)])
        .send()
        .await
        .unwrap();
    assert_eq!(sent.headers()["cache-control"], "no-store");
    sent.status().as_u16()
}

/// The request of a client that may go on while its user is away.
fn lasting() -> Request {
    Request::new().with("client_id", LASTING)
}

/// Somebody who is signed in, with tokens that an agent has and a code that it has not redeemed yet.
struct Busy {
    browser: Browser,
    grant_id: String,
    refresh_token: String,
    code: String,
}

impl Busy {
    async fn alice(idp: &Idp, issuer: &Issuer, changes: &Value) -> Self {
        let (browser, query) = (Browser::new(issuer), lasting().query());
        let back = idp
            .sign_in(issuer, (&browser, "corp", &query), "alice", changes)
            .await;
        assert_eq!(back.status, 303, "{}", back.html);
        let code = async || {
            let page = browser.get(&query).await;
            browser
                .press(&query, &page, "approve")
                .await
                .param("code")
                .unwrap()
        };
        let (status, answer) = redeem(issuer, &code().await, &[("client_id", LASTING)]).await;
        assert_eq!(status, 200, "{answer}");
        let claims = issuer
            .claims(answer["access_token"].as_str().unwrap())
            .await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let (grant_id, refresh_token) = (text(&claims["grant_id"]), text(&answer["refresh_token"]));
        let code = code().await;
        Self {
            browser,
            grant_id,
            refresh_token,
            code,
        }
    }

    async fn is_gone(&self, issuer: &Issuer) {
        assert_eq!(
            signed_in(&self.browser, &Request::new().query()).await,
            None
        );
        let registry = issuer.running.app.current_registry().await.unwrap();
        assert!(registry.is_revoked(&self.grant_id));
        let redeemed = redeem(issuer, &self.code, &[("client_id", LASTING)]).await;
        let refreshed = issuer
            .token(&[
                ("grant_type", "refresh_token"),
                ("client_id", LASTING),
                ("refresh_token", &self.refresh_token),
            ])
            .await;
        for (status, answer) in [redeemed, refreshed] {
            assert_eq!(
                (status, answer["error"].as_str()),
                (400, Some("invalid_grant"))
            );
        }
    }
}

#[tokio::test]
async fn a_logout_token_ends_sessions_tokens_and_codes() {
    let (idp, issuer) = corp().await;
    for names in [
        json!({}),
        json!({"sid": "s1"}),
        json!({"sub": null, "sid": "s1"}),
    ] {
        let alice = Busy::alice(&idp, &issuer, &json!({"sid": "s1"})).await;
        let token = idp.sign("logout+jwt", &logout_claims(&idp, &issuer, &names));
        assert_eq!(send(&issuer, &token).await, 200, "{names}");
        alice.is_gone(&issuer).await;
        let record = issuer
            .records()
            .await
            .into_iter()
            .find(|r| r.kind == Kind::SignOut)
            .unwrap();
        assert_eq!(record.subject.as_deref(), Some("alice@corp"));
        assert_eq!(send(&issuer, &token).await, 400, "a token is good once");
        issuer.pass(2 * 3600);
    }
}

#[tokio::test]
async fn a_providers_session_ends_what_came_of_it_after_the_session_here_is_over() {
    let (idp, issuer) = corp().await;
    let alice = Busy::alice(&idp, &issuer, &json!({"sid": "s1"})).await;
    // She signs in again with the same browser: the session here that the provider's led to is gone.
    let query = Request::new().with("prompt", "login").query();
    let changes = json!({"sid": "s2"});
    idp.sign_in(&issuer, (&alice.browser, "corp", &query), "alice", &changes)
        .await;
    let names = json!({"sub": null, "sid": "s1"});
    let token = idp.sign("logout+jwt", &logout_claims(&idp, &issuer, &names));
    assert_eq!(send(&issuer, &token).await, 200);
    let registry = issuer.running.app.current_registry().await.unwrap();
    assert!(registry.is_revoked(&alice.grant_id));
}

#[tokio::test]
async fn a_logout_token_that_is_not_wholly_right_ends_nothing() {
    let (idp, issuer) = corp().await;
    let (browser, query) = (Browser::new(&issuer), Request::new().query());
    idp.sign_in(&issuer, (&browser, "corp", &query), "alice", &json!({}))
        .await;
    let stranger = Idp::start().await;
    let now = issuer.now();
    for (name, changes) in [
        ("issuer", json!({"iss": stranger.url})),
        ("audience", json!({"aud": "another"})),
        ("no audience", json!({"aud": null})),
        ("old", json!({"iat": now - 3600})),
        ("from the future", json!({"iat": now + 600})),
        ("no time", json!({"iat": null})),
        ("expired", json!({"exp": now - 60})),
        ("endless", json!({"exp": null})),
        ("no id", json!({"jti": null})),
        ("nonce", json!({"nonce": "n"})),
        ("no event", json!({"events": null})),
        (
            "another event",
            json!({"events": {"https://x.example/event": {}}}),
        ),
        ("malformed event", json!({"events": {EVENT: true}})),
        ("nobody", json!({"sub": null})),
        ("malformed subject", json!({"sub": 1, "sid": "s1"})),
    ] {
        let token = idp.sign("logout+jwt", &logout_claims(&idp, &issuer, &changes));
        assert_eq!((name, send(&issuer, &token).await), (name, 400));
    }
    let claims = logout_claims(&idp, &issuer, &json!({}));
    for (name, token) in [
        ("an ID token's type", idp.sign("JWT", &claims)),
        ("an access token's type", idp.sign("at+jwt", &claims)),
        ("unsigned", unsigned("logout+jwt", &claims)),
        ("with the client's secret", with_secret(&claims)),
        ("another's key", stranger.sign("logout+jwt", &claims)),
        ("not a token", "x".to_owned()),
        (
            "a part too many",
            format!("{}.x", idp.sign("logout+jwt", &claims)),
        ),
    ] {
        assert_eq!((name, send(&issuer, &token).await), (name, 400));
    }
    let url = format!("{}/oauth/backchannel-logout", issuer.url);
    let post = |path: &str, form: &[(&str, &str)]| {
        reqwest::Client::new()
            .post(format!("{url}/{path}"))
            .form(form)
            .send()
    };
    let good = idp.sign("logout+jwt", &claims);
    let answer = post("corp", &[]).await.unwrap();
    assert_eq!(answer.status(), 400);
    assert_eq!(
        post("corp", &[("logout_token", &good), ("logout_token", &good)])
            .await
            .unwrap()
            .status(),
        400
    );
    assert_eq!(
        post("none", &[("logout_token", &good)])
            .await
            .unwrap()
            .status(),
        404
    );
    assert!(
        signed_in(&browser, &query).await.is_some(),
        "none of that has ended anything"
    );
    assert_eq!(send(&issuer, &good).await, 200, "nor spoiled a good one");
    assert_eq!(signed_in(&browser, &query).await, None);
}

#[tokio::test]
async fn a_sign_in_on_its_way_when_the_provider_ends_it_comes_to_nothing() {
    let (idp, issuer) = corp().await;
    let query = Request::new().query();
    for names in [json!({}), json!({"sub": null, "sid": "s9"})] {
        let browser = Browser::new(&issuer);
        idp.sign_in(&issuer, (&browser, "corp", &query), "alice", &json!({}))
            .await;
        let late = Browser::new(&issuer);
        let out = set_out(&issuer, &late, "corp", &query).await;
        assert_eq!(
            send(
                &issuer,
                &idp.sign("logout+jwt", &logout_claims(&idp, &issuer, &names))
            )
            .await,
            200
        );
        let claims = idp.claims(
            &issuer,
            &param(&out, "nonce"),
            "alice",
            &json!({"sid": "s9"}),
        );
        idp.give(&idp.sign("JWT", &claims));
        let back = come_back(
            &issuer,
            &late,
            "corp",
            &[("state", &param(&out, "state")), ("code", "c")],
        )
        .await;
        assert_eq!(back.status, 400, "{names}");
        assert!(
            back.html.contains("signed you out again meanwhile"),
            "{}",
            back.html
        );
    }
    let again = Browser::new(&issuer);
    let back = idp
        .sign_in(&issuer, (&again, "corp", &query), "alice", &json!({}))
        .await;
    assert_eq!(
        back.status, 303,
        "a new sign-in is another matter: {}",
        back.html
    );
}

#[tokio::test]
async fn a_key_that_nobody_knows_is_asked_for_now_and_then_only() {
    let (idp, issuer) = corp().await;
    let (browser, query) = (Browser::new(&issuer), Request::new().query());
    idp.sign_in(&issuer, (&browser, "corp", &query), "alice", &json!({}))
        .await;
    idp.rotate("k2");
    let token = idp.sign("logout+jwt", &logout_claims(&idp, &issuer, &json!({})));
    assert_eq!(send(&issuer, &token).await, 400);
    issuer.pass(10);
    assert_eq!(send(&issuer, &token).await, 200);
}

#[tokio::test]
async fn a_user_who_is_disabled_here_is_out_at_once() {
    let (idp, issuer) = corp().await;
    let alice = Busy::alice(&idp, &issuer, &json!({})).await;
    let late = Browser::new(&issuer);
    let query = Request::new().query();
    let mut tx = issuer.running.app.store.write().await.unwrap();
    users::set_active(tx.conn(), "alice@corp", false, jiff::Timestamp::now())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    alice.is_gone(&issuer).await;
    let registry = issuer.running.app.current_registry().await.unwrap();
    assert!(registry.is_disabled_subject("alice@corp"));
    let back = idp
        .sign_in(&issuer, (&late, "corp", &query), "alice", &json!({}))
        .await;
    assert_eq!(back.status, 403);
    assert!(back.html.contains("switched off"), "{}", back.html);
}

const AFTER: &str = "https://webapp.test/signed-out";

async fn register_webapp(issuer: &Issuer) {
    let client = Agent {
        metadata: ClientMetadata {
            post_logout_redirect_uris: vec![AFTER.to_owned()],
            ..ClientMetadata::default()
        },
        ..agent("site", AuthMethod::None, &["https://webapp.test/cb"])
    };
    issuer
        .running
        .app
        .store
        .add_agent(&client, jiff::Timestamp::now())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_client_without_proof_has_the_user_asked_and_the_provider_is_left_too() {
    let (idp, issuer) = corp().await;
    register_webapp(&issuer).await;
    let (browser, query) = (Browser::new(&issuer), Request::new().query());
    idp.sign_in(&issuer, (&browser, "corp", &query), "alice", &json!({}))
        .await;
    let asked = format!(
        "{}/oauth/logout?client_id=site&state=a%26b&post_logout_redirect_uri={}",
        issuer.url,
        form_urlencoded::byte_serialize(AFTER.as_bytes()).collect::<String>()
    );
    let page = browser.go(&asked).await;
    assert!(page.html.contains("<h1>Sign out?</h1>"), "{}", page.html);
    assert!(
        signed_in(&browser, &query).await.is_some(),
        "asking alone ends nothing"
    );

    let confirm = format!("{}/oauth/logout/confirm", issuer.url);
    let form = |csrf: &str| {
        [
            ("csrf", csrf.to_owned()),
            ("client_id", "site".to_owned()),
            ("post_logout_redirect_uri", AFTER.to_owned()),
            ("state", "a&b".to_owned()),
        ]
    };
    let forged = form("forged");
    let forged = forged.each_ref().map(|(n, v)| (*n, v.as_str()));
    assert_eq!(browser.send(&confirm, &forged).await.status, 403);
    let sent = form(&page.field("csrf"));
    let sent = sent.each_ref().map(|(n, v)| (*n, v.as_str()));
    let out = browser.send(&confirm, &sent).await;
    assert_eq!(out.status, 200, "{}", out.html);
    let link = out
        .html
        .split("href=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let there: url::Url = link
        .replace("&#38;", "&")
        .replace("&amp;", "&")
        .parse()
        .unwrap();
    assert!(
        there.as_str().starts_with(&format!("{}/end?", idp.url)),
        "{there}"
    );
    assert_eq!(
        param(&there, "post_logout_redirect_uri"),
        format!("{}/oauth/logout/done", issuer.url)
    );
    assert!(param(&there, "id_token_hint").starts_with("ey"));
    assert_eq!(signed_in(&browser, &query).await, None);

    let done = format!(
        "{}/oauth/logout/done?state={}",
        issuer.url,
        param(&there, "state")
    );
    let back = browser.go(&done).await;
    assert_eq!(
        back.location.unwrap().as_str(),
        format!("{AFTER}?state=a%26b")
    );
    assert!(
        browser.go(&done).await.html.contains("You are signed out"),
        "once only"
    );
}

#[tokio::test]
async fn nobody_is_sent_where_the_client_has_not_registered() {
    let issuer = Issuer::start().await;
    register_webapp(&issuer).await;
    let (browser, query) = (Browser::new(&issuer), Request::new().query());
    browser.sign_in_as(&query, USER, PASSWORD).await;
    for (client, uri) in [
        ("client_id=site&", "https://evil.test/"),
        ("client_id=site&", "https://webapp.test/signed-out/"),
        ("client_id=site&", "https://webapp.test/cb"),
        ("client_id=none&", AFTER),
        ("", AFTER),
        ("id_token_hint=x.y.z&", AFTER),
    ] {
        let uri: String = form_urlencoded::byte_serialize(uri.as_bytes()).collect();
        let page = browser
            .go(&format!(
                "{}/oauth/logout?{client}post_logout_redirect_uri={uri}",
                issuer.url
            ))
            .await;
        assert_eq!((page.status, page.location), (400, None), "{client}{uri}");
    }
    assert!(signed_in(&browser, &query).await.is_some());

    let uri: String = form_urlencoded::byte_serialize(AFTER.as_bytes()).collect();
    let asked = format!(
        "{}/oauth/logout?client_id=site&post_logout_redirect_uri={uri}",
        issuer.url
    );
    let nobody = Browser::new(&issuer);
    assert_eq!(nobody.go(&asked).await.location.unwrap().as_str(), AFTER);
    issuer.disable(Registered::Agent, "site").await;
    let page = nobody.go(&asked).await;
    assert_eq!(
        (page.status, page.location),
        (400, None),
        "a client that is switched off sends nobody anywhere"
    );
}

#[tokio::test]
async fn who_changes_the_account_is_on_record_as_signed_out() {
    let issuer = Issuer::start().await;
    let (browser, query) = (Browser::new(&issuer), Request::new().query());
    let page = browser.consent_page(&query).await;
    browser.press(&query, &page, "sign_out").await;
    assert_eq!(signed_in(&browser, &query).await, None);
    let records = issuer.records().await;
    let record = records.iter().find(|r| r.kind == Kind::SignOut).unwrap();
    assert_eq!(record.subject.as_deref(), Some(USER));
}

#[tokio::test]
async fn a_client_that_shows_an_id_token_of_the_user_signs_them_out_unasked() {
    let issuer = Issuer::start().await;
    register_webapp(&issuer).await;
    let request = Request::new()
        .with("client_id", "site")
        .with("redirect_uri", "https://webapp.test/cb")
        .with("scope", "openid")
        .without("resource");
    let (browser, other) = (Browser::new(&issuer), Browser::new(&issuer));
    let code = browser.code(&request).await;
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", "site"),
        ("code", code.as_str()),
        ("redirect_uri", "https://webapp.test/cb"),
        ("code_verifier", VERIFIER),
    ];
    let (status, answer) = issuer.token(&form).await;
    assert_eq!(status, 200, "{answer}");
    let query = Request::new().query();
    let text = |name: &str| answer[name].as_str().unwrap().to_owned();
    let out = async |browser: &Browser, hint: &str, more: &str| {
        let url = format!("{}/oauth/logout?id_token_hint={hint}&{more}", issuer.url);
        browser.go(&url).await
    };

    for (name, hint) in [
        ("an access token", text("access_token")),
        ("a changed one", format!("{}x", text("id_token"))),
        ("nothing", "x.y.z".to_owned()),
    ] {
        let page = out(&browser, &hint, "").await;
        assert!(page.html.contains("<h1>Sign out?</h1>"), "{name}");
    }
    let page = out(&browser, &text("id_token"), "client_id=assistant").await;
    assert_eq!(page.status, 400, "it is not that client's");
    assert!(signed_in(&browser, &query).await.is_some());

    // Long after it has expired, within the session.
    issuer.pass(2 * 3600);
    let after: String = form_urlencoded::byte_serialize(AFTER.as_bytes()).collect();
    let more = format!("post_logout_redirect_uri={after}&state=s");
    let answer = out(&browser, &text("id_token"), &more).await;
    assert_eq!(answer.status, 303, "{}", answer.html);
    assert_eq!(
        answer.location.unwrap().as_str(),
        format!("{AFTER}?state=s")
    );
    assert_eq!(signed_in(&browser, &query).await, None);
    let answer = out(&other, &text("id_token"), &more).await;
    assert_eq!(
        answer.status, 303,
        "who is signed out already goes straight on"
    );
}
