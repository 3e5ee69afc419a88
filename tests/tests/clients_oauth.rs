//! Independent OAuth and OpenID Connect clients against the issuer: what they accept is what the standards say, in the
//! reading of somebody else.

use serde_json::{Value, json};
use writ_tests::clients::Script;
use writ_tests::deployment::{Deployment, Options};
use writ_tests::mcp;
use writ_tests::oauth::Browser;
use writ_tests::registrations::{
    ASSISTANT, PASSWORD, RECONCILER, REDIRECT_URI, Registrations, SERVER, USER,
};
use writ_tests::scratch::Scratch;
use writ_tests::token_service::{self, TokenService};

const RESOURCE: &str = "http://127.0.0.1:1/mcp";
const SCOPE: &str = "openid profile offline_access ledger:read";
/// The ledger's own web application.
const WEB_APP: &str = "ledger-web";
const WEB_REDIRECT: &str = "https://ledger.example/signed-in";
const WEB_LOGOUT: &str = "https://ledger.example/signed-out";

async fn service(name: &str) -> (TokenService, Registrations, Scratch) {
    let scratch = Scratch::new(name).unwrap();
    let options = token_service::Options {
        config: Some("[registration]\nopen = true\n".to_owned()),
        ..token_service::Options::default()
    };
    let mut service = TokenService::prepare(&scratch, options).unwrap();
    let registered = Registrations::make(&service, &scratch, RESOURCE).unwrap();
    service.serve().await.unwrap();
    (service, registered, scratch)
}

/// What every script is told.
fn told(issuer: &str, registered: &Registrations) -> Value {
    json!({
        "issuer": issuer,
        "resource": registered.resource,
        "scope": SCOPE,
        "resource_scope": "ledger:read",
        "client": { "id": ASSISTANT, "redirect_uri": REDIRECT_URI },
        "workload": { "id": RECONCILER, "jwk": registered.key.private_jwk().unwrap() },
        "server": { "id": SERVER, "secret": registered.server_secret },
    })
}

async fn outcome(script: Script) -> Value {
    let mut browser = Browser::of(USER, PASSWORD).unwrap();
    script.outcome(&mut browser).await.unwrap()
}

/// Plays one scenario of `oauth4webapi.mjs`.
async fn oauth4webapi(scenario: &str, mut told: Value, changes: Value) -> Value {
    told["scenario"] = json!(scenario);
    for (name, value) in changes.as_object().unwrap() {
        told[name] = value.clone();
    }
    outcome(Script::node("oauth4webapi.mjs", &told).await.unwrap()).await
}

#[tokio::test]
async fn oauth4webapi_signs_a_user_in_and_uses_every_endpoint() {
    let (service, registered, _scratch) = service("oauth4webapi").await;
    let told = told(&service.issuer(), &registered);

    let user = oauth4webapi("user", told.clone(), json!({})).await;
    assert_eq!(user["claims"]["sub"], USER);
    assert_eq!(user["claims"]["aud"], ASSISTANT);
    assert_eq!(user["info"]["sub"], USER);
    assert_eq!(user["access"]["sub"], USER, "{user}");
    assert_eq!(user["access"]["client_id"], ASSISTANT);
    assert_eq!(user["introspected"], json!({ "active": false }));
    assert_eq!(user["reuse"], "invalid_grant");
    assert_eq!(user["family"], "invalid_grant", "a stolen family is ended");
    assert_eq!(user["revoked"], "invalid_grant");
    assert_eq!(user["dead"], 401, "what was issued with it ends with it");

    let scope = json!({ "scope": "ledger:read" });
    let workload = oauth4webapi("workload", told.clone(), scope.clone()).await;
    assert_eq!(workload["access"]["sub"], RECONCILER, "{workload}");

    let registration = oauth4webapi("registration", told, scope).await;
    assert_eq!(registration["client_name"], "Registered by oauth4webapi");
}

#[tokio::test]
async fn oauth4webapi_binds_a_users_tokens_to_its_key() {
    let writ = Deployment::start(Options::named("oauth4webapi-dpop"))
        .await
        .unwrap();
    let told = told(&writ.service.issuer(), &writ.registered);
    let call = json!({
        "headers": {
            "accept": "application/json, text/event-stream",
            "content-type": "application/json",
            "mcp-protocol-version": "2026-07-28",
            "mcp-method": "tools/call",
            "mcp-name": "listAccounts",
        },
        "body": mcp::call_message("listAccounts", &json!({})).to_string(),
    });
    let changes = json!({ "scope": "ledger:read offline_access", "call": call });
    let bound = oauth4webapi("dpop", told, changes).await;
    assert!(
        bound["token_type"]
            .as_str()
            .unwrap()
            .eq_ignore_ascii_case("DPoP"),
        "{bound}"
    );
    assert_eq!(bound["call"]["status"], 200, "{bound}");
    let answer = mcp::message_in(bound["call"]["body"].as_str().unwrap()).unwrap();
    assert!(answer.get("result").is_some(), "{answer}");
    assert_eq!(
        bound["stolen"]["status"], 401,
        "without the key it is worth nothing: {bound}"
    );
}

#[tokio::test]
async fn authlib_signs_a_user_in_and_a_workload() {
    let (service, registered, _scratch) = service("authlib").await;
    let told = told(&service.issuer(), &registered);
    let learned = outcome(Script::python("authlib_client.py", &told).await.unwrap()).await;
    assert_eq!(learned["user"]["claims"]["sub"], USER, "{learned}");
    assert_eq!(learned["user"]["claims"]["iss"], service.issuer());
    assert_eq!(learned["user"]["info"]["sub"], USER);
    assert_eq!(learned["workload"]["scope"], "ledger:read", "{learned}");
}

#[tokio::test]
async fn openid_client_makes_it_the_issuer_of_a_servers_own_web_application() {
    let (service, _, _scratch) = service("openid-client").await;
    let secret = service
        .cli_secret(&[
            "agent",
            "add",
            WEB_APP,
            "--name",
            "Ledger",
            "--redirect-uri",
            WEB_REDIRECT,
            "--post-logout-redirect-uri",
            WEB_LOGOUT,
            "--auth",
            "secret",
        ])
        .unwrap();
    let told = json!({
        "issuer": service.issuer(),
        "client": {
            "id": WEB_APP,
            "secret": secret,
            "redirect_uri": WEB_REDIRECT,
            "post_logout_redirect_uri": WEB_LOGOUT,
        },
    });
    let learned = outcome(Script::node("openid-client.mjs", &told).await.unwrap()).await;
    assert_eq!(learned["claims"]["sub"], USER, "{learned}");
    assert_eq!(learned["claims"]["aud"], WEB_APP);
    assert_eq!(learned["info"]["sub"], USER);
    assert_eq!(
        learned["signed_out"],
        json!({ "address": WEB_LOGOUT, "state": "signed-out" })
    );
    assert_eq!(learned["again"], "login_required", "{learned}");
}
