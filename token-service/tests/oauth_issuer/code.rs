use writ_token_service::{
    audit::{Kind, Verdict},
    store::registrations::Registered,
};

use crate::{
    browser::{Browser, Request, VERIFIER, a_code, redeem},
    database,
    issuer::{CONFIDENTIAL, Issuer, OTHER_RESOURCE, PUBLIC, RESOURCE, SECRET, USER, WEB_REDIRECT},
};

#[tokio::test]
async fn a_user_gives_an_agent_a_token_for_one_server() {
    let issuer = Issuer::start().await;
    let (status, answer) = redeem(&issuer, &a_code(&issuer).await, &[]).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["token_type"], "Bearer");
    assert_eq!(answer["expires_in"], 600);
    assert_eq!(answer["scope"], "accounts:read");
    assert!(answer.get("refresh_token").is_none());
    let claims = issuer
        .claims(answer["access_token"].as_str().unwrap())
        .await;
    assert_eq!(claims["iss"], issuer.url);
    assert_eq!(claims["sub"], USER);
    assert_eq!(claims["aud"], RESOURCE);
    assert_eq!(claims["client_id"], PUBLIC);
    assert_eq!(claims["scope"], "accounts:read");
    assert_eq!(claims["subject_type"], "user");
    assert_eq!(claims["agent_authn"], "none");
    assert_eq!(claims["groups"], serde_json::json!(["finance", "staff"]));
    assert_eq!(
        claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(),
        600
    );
    let record = issuer
        .records()
        .await
        .into_iter()
        .find(|r| r.kind == Kind::TokenIssued)
        .unwrap();
    assert_eq!(record.token_id.as_deref(), claims["jti"].as_str());
    assert_eq!(record.subject.as_deref(), Some(USER));
    assert_eq!(record.agent.as_deref(), Some(PUBLIC));
    assert_eq!(record.server.as_deref(), Some("ledger"));
}

#[tokio::test]
async fn a_confidential_client_proves_itself_too() {
    let issuer = Issuer::start().await;
    let request = Request::new()
        .with("client_id", CONFIDENTIAL)
        .with("redirect_uri", WEB_REDIRECT);
    let code = Browser::new(&issuer).code(&request).await;
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("redirect_uri", WEB_REDIRECT),
        ("code_verifier", VERIFIER),
    ];
    let (status, answer) = issuer
        .token_with(Some((CONFIDENTIAL, "wrong")), &form)
        .await;
    assert_eq!(
        (status, answer["error"].as_str()),
        (401, Some("invalid_client"))
    );
    let mut named = form.to_vec();
    named.push(("client_id", CONFIDENTIAL));
    let (status, _) = issuer.token(&named).await;
    assert_eq!(status, 401, "its id alone is not enough");
    let (status, answer) = issuer.token_with(Some((CONFIDENTIAL, SECRET)), &form).await;
    assert_eq!(status, 200, "{answer}");
    let claims = issuer
        .claims(answer["access_token"].as_str().unwrap())
        .await;
    assert_eq!(claims["agent_authn"], "secret");
}

#[tokio::test]
async fn a_code_is_bound_to_everything_it_was_asked_with() {
    let issuer = Issuer::start().await;
    let code = a_code(&issuer).await;
    let other = "another-verifier-of-more-than-forty-three-characters-01234";
    for (changes, error) in [
        (("code_verifier", other), "invalid_grant"),
        (("code_verifier", "short"), "invalid_grant"),
        (("code_verifier", ""), "invalid_request"),
        (
            ("redirect_uri", "http://127.0.0.1:49153/callback"),
            "invalid_grant",
        ),
        (("resource", OTHER_RESOURCE), "invalid_target"),
        (("code", "made-up"), "invalid_grant"),
        (("grant_type", "password"), "unsupported_grant_type"),
        (("client_id", "nobody"), "invalid_client"),
    ] {
        let (status, answer) = redeem(&issuer, &code, &[changes]).await;
        assert!(status == 400 || status == 401, "{changes:?}");
        assert_eq!(answer["error"], error, "{changes:?}");
    }
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("code_verifier", VERIFIER),
    ];
    let (_, answer) = issuer.token_with(Some((CONFIDENTIAL, SECRET)), &form).await;
    assert_eq!(answer["error"], "invalid_grant", "another client's code");
    let (status, _) = redeem(&issuer, &code, &[]).await;
    assert_eq!(
        status, 200,
        "none of that has spoiled the code for its owner"
    );
}

#[tokio::test]
async fn a_code_that_comes_twice_takes_its_token_back() {
    let issuer = Issuer::start().await;
    let code = a_code(&issuer).await;
    let (_, first) = redeem(&issuer, &code, &[]).await;
    let claims = issuer.claims(first["access_token"].as_str().unwrap()).await;
    let grant_id = claims["grant_id"].as_str().unwrap();
    assert!(
        !issuer
            .running
            .app
            .current_registry()
            .await
            .unwrap()
            .is_revoked(grant_id)
    );
    let (status, again) = redeem(&issuer, &code, &[]).await;
    assert_eq!(
        (status, again["error"].as_str()),
        (400, Some("invalid_grant"))
    );
    assert!(
        issuer
            .running
            .app
            .current_registry()
            .await
            .unwrap()
            .is_revoked(grant_id)
    );
    let record = issuer.records().await.pop().unwrap();
    assert_eq!(
        (record.kind, record.decision),
        (Kind::TokenIssued, Some(Verdict::Deny))
    );
    assert_eq!(record.detail.unwrap()["grant_id"], grant_id);
}

#[tokio::test]
async fn two_at_once_get_one_token() {
    let issuer = Issuer::start().await;
    let code = a_code(&issuer).await;
    let (one, two) = tokio::join!(redeem(&issuer, &code, &[]), redeem(&issuer, &code, &[]));
    let mut statuses = [one.0, two.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400]);
}

#[tokio::test]
async fn a_code_lives_a_minute() {
    let issuer = Issuer::start().await;
    let code = a_code(&issuer).await;
    issuer.pass(61);
    let (status, answer) = redeem(&issuer, &code, &[]).await;
    assert_eq!(
        (status, answer["error"].as_str()),
        (400, Some("invalid_grant"))
    );
}

#[tokio::test]
async fn a_code_is_worth_nothing_once_somebody_is_switched_off() {
    for case in ["user", "agent", "server"] {
        let issuer = Issuer::start().await;
        let code = a_code(&issuer).await;
        let expected = match case {
            "user" => {
                issuer.disable_user().await;
                "invalid_grant"
            }
            "agent" => {
                issuer.disable(Registered::Agent, PUBLIC).await;
                "invalid_client"
            }
            _ => {
                issuer.disable(Registered::Server, "ledger").await;
                "invalid_target"
            }
        };
        let (_, answer) = redeem(&issuer, &code, &[]).await;
        assert_eq!(answer["error"], expected, "{case}");
    }
}

#[tokio::test]
async fn a_repeated_parameter_or_another_body_is_no_request() {
    let issuer = Issuer::start().await;
    let (status, answer) = issuer
        .token(&[
            ("grant_type", "authorization_code"),
            ("resource", RESOURCE),
            ("resource", OTHER_RESOURCE),
        ])
        .await;
    assert_eq!(
        (status, answer["error"].as_str()),
        (400, Some("invalid_request"))
    );
    let json = reqwest::Client::new()
        .post(format!("{}/oauth/token", issuer.url))
        .json(&serde_json::json!({"grant_type": "authorization_code"}))
        .send()
        .await
        .unwrap();
    assert_eq!(json.status(), 400);
}

#[tokio::test]
async fn there_is_no_token_without_its_record() {
    let issuer = Issuer::start().await;
    let code = a_code(&issuer).await;
    let [refuse, take] = database::refusing(&issuer.running.app.config.data_dir, "audit");
    for (sql, status) in [(refuse, 500), (take, 200)] {
        let mut tx = issuer.running.app.store.write().await.unwrap();
        let changed = sqlx::query(sqlx::AssertSqlSafe(sql)).execute(tx.conn());
        changed.await.unwrap();
        tx.commit().await.unwrap();
        let (answered, answer) = redeem(&issuer, &code, &[]).await;
        assert_eq!(answered, status, "{answer}");
        assert_eq!(answer.get("access_token").is_some(), status == 200);
    }
}
