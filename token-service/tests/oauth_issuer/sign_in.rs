use writ_token_service::audit::{Kind, Verdict};

use crate::{
    browser::{Browser, Request},
    issuer::{Issuer, PASSWORD, USER},
};

fn cookie(answer: &crate::browser::Answer) -> Option<String> {
    answer
        .headers
        .get("set-cookie")
        .map(|c| c.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn signing_in_replaces_the_cookie_and_is_on_record() {
    let issuer = Issuer::start().await;
    let browser = Browser::new(&issuer);
    let query = Request::new().query();
    let before = cookie(&browser.get(&query).await).unwrap();
    assert!(before.contains("; HttpOnly; SameSite=Lax"), "{before}");
    let signed_in = browser.sign_in_as(&query, USER, PASSWORD).await;
    assert_eq!(signed_in.status, 303);
    assert_eq!(
        signed_in.location.as_ref().unwrap().path(),
        "/oauth/authorize"
    );
    assert_ne!(
        cookie(&signed_in).unwrap(),
        before,
        "a planted cookie is worth nothing after sign-in"
    );
    assert_eq!(cookie(&browser.get(&query).await), None);
    let record = issuer
        .records()
        .await
        .into_iter()
        .find(|r| r.kind == Kind::SignIn)
        .unwrap();
    assert_eq!(record.subject.as_deref(), Some(USER));
    assert_eq!(record.decision, Some(Verdict::Allow));
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_name_get_the_same_answer() {
    let issuer = Issuer::start().await;
    let browser = Browser::new(&issuer);
    let query = Request::new().query();
    for (user, password) in [
        (USER, "wrong"),
        ("nobody", PASSWORD),
        (USER, ""),
        ("", PASSWORD),
        ("\" or 1=1", PASSWORD),
    ] {
        let answer = browser.sign_in_as(&query, user, password).await;
        assert_eq!(
            (answer.status, answer.location.is_some()),
            (200, false),
            "{user}"
        );
        assert!(answer.html.contains("User name or password is wrong."));
        assert!(answer.html.contains("role=\"alert\""));
        assert!(!answer.html.contains(PASSWORD));
    }
    let kinds: Vec<Kind> = issuer.records().await.into_iter().map(|r| r.kind).collect();
    assert!(!kinds.contains(&Kind::SignIn));
}

#[tokio::test]
async fn guessing_is_slowed_down_and_the_right_password_does_not_help() {
    let issuer = Issuer::start().await;
    let browser = Browser::new(&issuer);
    let query = Request::new().query();
    for _ in 0..10 {
        assert_eq!(browser.sign_in_as(&query, USER, "wrong").await.status, 200);
    }
    let answer = browser.sign_in_as(&query, USER, PASSWORD).await;
    assert_eq!(answer.status, 429);
    assert!(answer.headers.contains_key("retry-after"));
    issuer.pass(1200);
    assert_eq!(browser.sign_in_as(&query, USER, PASSWORD).await.status, 303);
}

#[tokio::test]
async fn a_password_is_not_looked_at_when_the_try_cannot_be_counted() {
    let issuer = Issuer::start().await;
    let browser = Browser::new(&issuer);
    let query = Request::new().query();
    let mut tx = issuer.running.app.store.write().await.unwrap();
    let away = sqlx::query("ALTER TABLE rates RENAME TO away");
    away.execute(tx.conn()).await.unwrap();
    tx.commit().await.unwrap();
    let answer = browser.sign_in_as(&query, USER, PASSWORD).await;
    assert_eq!(answer.status, 503);
    let kinds: Vec<Kind> = issuer.records().await.into_iter().map(|r| r.kind).collect();
    assert!(!kinds.contains(&Kind::SignIn));
}

#[tokio::test]
async fn a_session_ends_after_a_working_day_or_when_the_user_says_so() {
    let issuer = Issuer::start().await;
    let browser = Browser::new(&issuer);
    let query = Request::new().query();
    let page = browser.consent_page(&query).await;
    let out = browser.press(&query, &page, "sign_out").await;
    assert_eq!(out.status, 303);
    assert!(browser.get(&query).await.html.contains("<h1>Sign in</h1>"));
    browser.consent_page(&query).await;
    issuer.pass(9 * 3600);
    assert!(browser.get(&query).await.html.contains("<h1>Sign in</h1>"));
}
