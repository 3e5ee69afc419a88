use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;
use writ_policy::stops::Lockdown;
use writ_token_service::{
    audit::{Kind, Verdict},
    store::{grants, registrations::Registered, stops::Revocation, users},
};

use crate::{
    browser::{Browser, REDIRECT, Request, VERIFIER},
    issuer::{Issuer, LASTING, OTHER_RESOURCE, PUBLIC, RESOURCE, USER},
};

/// What [`LASTING`] gets for a code of its own.
async fn granted(issuer: &Issuer, scope: &str) -> Value {
    let request = Request::new()
        .with("client_id", LASTING)
        .with("scope", scope);
    let code = Browser::new(issuer).code(&request).await;
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

fn token(answer: &Value) -> &str {
    answer["refresh_token"].as_str().unwrap()
}

async fn refresh(issuer: &Issuer, token: &str, more: &[(&str, &str)]) -> (u16, Value) {
    let mut form = vec![
        ("grant_type", "refresh_token"),
        ("client_id", LASTING),
        ("refresh_token", token),
    ];
    form.extend(more);
    issuer.token(&form).await
}

async fn revoke(issuer: &Issuer, client: &str, token: &str) -> u16 {
    let form = [("client_id", client), ("token", token)];
    let request = reqwest::Client::new().post(format!("{}/oauth/revoke", issuer.url));
    request.form(&form).send().await.unwrap().status().as_u16()
}

/// Whether a refresh is refused, and as what.
async fn refused(issuer: &Issuer, token: &str) -> bool {
    let (status, answer) = refresh(issuer, token, &[]).await;
    status == 400 && answer["error"] == "invalid_grant"
}

#[tokio::test]
async fn a_grant_goes_on_with_a_new_refresh_token_each_time() {
    let issuer = Issuer::start().await;
    let first = granted(&issuer, "accounts:read").await;
    let grant = issuer.claims(first["access_token"].as_str().unwrap()).await;
    issuer.pass(700);
    let (status, second) = refresh(&issuer, token(&first), &[]).await;
    assert_eq!(status, 200, "{second}");
    assert_ne!(token(&first), token(&second));
    assert_eq!(second["scope"], "accounts:read");
    let claims = issuer
        .claims(second["access_token"].as_str().unwrap())
        .await;
    assert_eq!(claims["sub"], USER);
    assert_eq!(claims["aud"], RESOURCE);
    assert_eq!(claims["grant_id"], grant["grant_id"]);
    assert_ne!(claims["jti"], grant["jti"]);
    let (status, _) = refresh(&issuer, token(&second), &[("resource", RESOURCE)]).await;
    assert_eq!(status, 200);
    let records = issuer.records().await;
    let refreshed = records
        .iter()
        .filter(|r| {
            r.detail
                .as_ref()
                .is_some_and(|d| d["grant"] == "refresh_token")
        })
        .count();
    assert_eq!(refreshed, 2, "each is on record");
}

#[tokio::test]
async fn a_refresh_token_that_comes_twice_ends_the_family() {
    let issuer = Issuer::start().await;
    let first = granted(&issuer, "accounts:read").await;
    let (_, second) = refresh(&issuer, token(&first), &[]).await;
    assert!(refused(&issuer, token(&first)).await, "used before");
    assert!(
        refused(&issuer, token(&second)).await,
        "nobody can tell which of the two was stolen"
    );
    let claims = issuer
        .claims(second["access_token"].as_str().unwrap())
        .await;
    let grant_id = claims["grant_id"].as_str().unwrap();
    let registry = issuer.running.app.current_registry().await.unwrap();
    assert!(registry.is_revoked(grant_id));
    let records = issuer.records().await;
    let told = records
        .iter()
        .find(|r| r.decision == Some(Verdict::Deny))
        .unwrap();
    assert_eq!(told.kind, Kind::TokenIssued);
    assert!(told.reason.as_deref().unwrap().contains("used again"));
    assert_eq!(told.detail.as_ref().unwrap()["grant_id"], grant_id);
}

#[tokio::test]
async fn of_two_tabs_that_refresh_at_once_one_wins_and_the_family_ends() {
    let issuer = Issuer::start().await;
    let first = granted(&issuer, "accounts:read").await;
    let (one, two) = tokio::join!(
        refresh(&issuer, token(&first), &[]),
        refresh(&issuer, token(&first), &[])
    );
    assert_eq!(one.0 + two.0, 200 + 400, "{one:?} {two:?}");
    let winner = if one.0 == 200 { one.1 } else { two.1 };
    assert!(refused(&issuer, token(&winner)).await);
}

#[tokio::test]
async fn scope_shrinks_and_never_grows() {
    let issuer = Issuer::start().await;
    let first = granted(&issuer, "accounts:read transfers:write").await;
    let narrow = [("scope", "accounts:read")];
    let (_, second) = refresh(&issuer, token(&first), &narrow).await;
    assert_eq!(second["scope"], "accounts:read");
    let (_, third) = refresh(&issuer, token(&second), &[]).await;
    assert_eq!(
        third["scope"], "accounts:read transfers:write",
        "RFC 6749 section 6: the refresh token's own scope stays"
    );
    for (more, error) in [
        (("scope", "accounts:read admin"), "invalid_scope"),
        (("scope", "openid"), "invalid_scope"),
        (("resource", OTHER_RESOURCE), "invalid_target"),
    ] {
        let (status, answer) = refresh(&issuer, token(&third), &[more]).await;
        assert_eq!((status, answer["error"].as_str()), (400, Some(error)));
    }
    let (status, _) = refresh(&issuer, token(&third), &[]).await;
    assert_eq!(status, 200, "none of that used the token up");
}

#[tokio::test]
async fn another_client_can_neither_use_nor_end_a_grant() {
    let issuer = Issuer::start().await;
    let first = granted(&issuer, "accounts:read").await;
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", PUBLIC),
        ("refresh_token", token(&first)),
    ];
    let (status, answer) = issuer.token(&form).await;
    assert_eq!(
        (status, answer["error"].as_str()),
        (400, Some("unauthorized_client")),
        "it is not registered for the grant"
    );
    assert_eq!(revoke(&issuer, PUBLIC, token(&first)).await, 200);
    let access = first["access_token"].as_str().unwrap();
    assert_eq!(revoke(&issuer, PUBLIC, access).await, 200);
    let (status, _) = refresh(&issuer, token(&first), &[]).await;
    assert_eq!(status, 200);
    assert!(refused(&issuer, "made-up").await);
}

#[tokio::test]
async fn a_grant_ends_when_it_is_left_alone_and_in_any_case_after_a_while() {
    let idle = Issuer::start().await;
    let first = granted(&idle, "accounts:read").await;
    idle.pass(7 * 24 * 3600 + 1);
    assert!(refused(&idle, token(&first)).await);

    let busy = Issuer::start_with(&[
        ("WRIT_TOKENS__REFRESH_TTL", "10d"),
        ("WRIT_TOKENS__REFRESH_IDLE_TTL", "7d"),
    ])
    .await;
    let first = granted(&busy, "accounts:read").await;
    busy.pass(6 * 24 * 3600);
    let (status, second) = refresh(&busy, token(&first), &[]).await;
    assert_eq!(status, 200);
    busy.pass(4 * 24 * 3600 - 60);
    let (status, third) = refresh(&busy, token(&second), &[]).await;
    assert_eq!(status, 200);
    assert!(
        third["expires_in"].as_u64().unwrap() <= 60,
        "no token outlives its grant"
    );
    busy.pass(61);
    assert!(refused(&busy, token(&third)).await);
}

#[tokio::test]
async fn everybody_is_looked_at_again_at_each_refresh() {
    let issuer = Issuer::start().await;
    let first = granted(&issuer, "accounts:read").await;
    let mut tx = issuer.running.app.store.write().await.unwrap();
    sqlx::query("UPDATE users SET groups = '[\"left\"]' WHERE name = $1")
        .bind(USER)
        .execute(tx.conn())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let (_, second) = refresh(&issuer, token(&first), &[]).await;
    let claims = issuer
        .claims(second["access_token"].as_str().unwrap())
        .await;
    assert_eq!(claims["groups"], serde_json::json!(["left"]));

    issuer.disable(Registered::Server, "ledger").await;
    let (_, answer) = refresh(&issuer, token(&second), &[]).await;
    assert_eq!(answer["error"], "invalid_target");
    issuer.disable_user().await;
    assert!(refused(&issuer, token(&second)).await);
    issuer.disable(Registered::Agent, LASTING).await;
    let (status, answer) = refresh(&issuer, token(&second), &[]).await;
    assert_eq!(
        (status, answer["error"].as_str()),
        (401, Some("invalid_client"))
    );
}

#[tokio::test]
async fn what_is_given_back_is_worth_nothing() {
    for what in ["refresh_token", "access_token"] {
        let issuer = Issuer::start().await;
        let first = granted(&issuer, "accounts:read").await;
        let access = first["access_token"].as_str().unwrap();
        let given_back = first[what].as_str().unwrap();
        assert_eq!(revoke(&issuer, LASTING, given_back).await, 200);
        assert_eq!(revoke(&issuer, LASTING, given_back).await, 200, "again");
        assert!(refused(&issuer, token(&first)).await, "{what}");
        let grant_id = issuer.claims(access).await["grant_id"].clone();
        let registry = issuer.running.app.current_registry().await.unwrap();
        assert!(registry.is_revoked(grant_id.as_str().unwrap()), "{what}");
        let records = issuer.records().await;
        let record = records.iter().find(|r| r.kind == Kind::Revoked).unwrap();
        assert_eq!(record.subject.as_deref(), Some(USER));
        assert_eq!(record.agent.as_deref(), Some(LASTING));
        assert_eq!(record.detail.as_ref().unwrap()["grant_id"], grant_id);
    }
}

#[tokio::test]
async fn revocation_needs_a_client_and_a_token() {
    let issuer = Issuer::start().await;
    assert_eq!(revoke(&issuer, "nobody", "x").await, 401);
    assert_eq!(revoke(&issuer, LASTING, "").await, 400);
    assert_eq!(revoke(&issuer, LASTING, "made-up").await, 200);
}

#[tokio::test]
async fn all_grants_of_a_user_can_be_ended_together() {
    let issuer = Issuer::start().await;
    let (one, two) = (
        granted(&issuer, "accounts:read").await,
        granted(&issuer, "").await,
    );
    let mut tx = issuer.running.app.store.write().await.unwrap();
    let now = jiff::Timestamp::now();
    grants::end_all_of(tx.conn(), USER, now).await.unwrap();
    assert!(users::find(tx.conn(), USER).await.unwrap().is_some());
    tx.commit().await.unwrap();
    assert!(refused(&issuer, token(&one)).await);
    assert!(refused(&issuer, token(&two)).await);
}

#[tokio::test]
async fn a_revocation_ends_the_grants_of_whom_it_names() {
    for what in ["subject", "agent", "session"] {
        let issuer = Issuer::start().await;
        let first = granted(&issuer, "openid accounts:read").await;
        let id_token = first["id_token"].as_str().unwrap();
        let payload = id_token.split('.').nth(1).unwrap();
        let id_token: Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
        let revocation = match what {
            "subject" => Revocation::Subject(USER.to_owned()),
            "agent" => Revocation::Agent(LASTING.to_owned()),
            _ => Revocation::Session(id_token["sid"].as_str().unwrap().to_owned()),
        };
        let (_, second) = refresh(&issuer, token(&first), &[]).await;
        let app = &issuer.running.app;
        let revoked = app.store.revoke(&revocation, None, &*app.clock).await;
        revoked.unwrap();
        assert!(refused(&issuer, token(&second)).await, "{what}");
    }
}

#[tokio::test]
async fn in_a_lockdown_nothing_is_issued_and_nothing_is_used_up() {
    let issuer = Issuer::start().await;
    let first = granted(&issuer, "accounts:read").await;
    let (now, store) = (jiff::Timestamp::now(), &issuer.running.app.store);
    let nobody = Lockdown::default();
    store.lock_down(Some(&nobody), None, now).await.unwrap();
    let (status, answer) = refresh(&issuer, token(&first), &[]).await;
    assert_eq!(
        (status, answer["error"].as_str()),
        (403, Some("access_denied"))
    );
    store.lock_down(None, None, now).await.unwrap();
    let (status, answer) = refresh(&issuer, token(&first), &[]).await;
    assert_eq!(status, 200, "{answer}");
}
