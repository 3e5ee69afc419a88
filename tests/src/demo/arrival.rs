//! An assistant that knows nothing but the server's URL, until it has a token: what it does, and what its user sees.

use anyhow::{Context, Result, ensure};
use reqwest::StatusCode;
use reqwest::header::WWW_AUTHENTICATE;
use rmcp::transport::auth::{AuthorizationCallback, AuthorizationManager};
use url::Url;
use writ_tests::deployment::Deployment;
use writ_tests::mcp;
use writ_tests::oauth::Step;
use writ_tests::registrations::REDIRECT_URI;

use crate::stage::Stage;

/// What the assistant calls itself when it registers.
const NAME: &str = "Assistant";

/// Plays it; answers the assistant's authorization, or nothing where a step went wrong.
pub async fn of_the_assistant(
    demo: &Deployment,
    stage: &mut Stage,
) -> Option<AuthorizationManager> {
    let challenge = stage
        .step(
            "(a) it calls the ledger and is refused: 401",
            challenge(demo),
        )
        .await?;
    let mut manager = stage
        .step(
            "(a) it reads who the issuer is, and where its endpoints are",
            discovery(demo, &challenge),
        )
        .await?;
    stage
        .step(
            "(a) nobody registered it, so it registers itself",
            registration(&mut manager),
        )
        .await?;
    let (landed, seen) = stage
        .step(
            "(a) it sends alice's browser to the issuer",
            sign_in(demo, &manager),
        )
        .await?;
    for step in &seen {
        stage.remark(&in_words(step));
    }
    stage
        .step(
            "(a) it redeems the code, with the proof that it asked (PKCE)",
            redemption(&manager, &landed),
        )
        .await?;
    Some(manager)
}

async fn challenge(demo: &Deployment) -> Result<(String, String)> {
    let message = mcp::call_message("listAccounts", &serde_json::json!({})).to_string();
    let answer = demo
        .http
        .post(demo.url())
        .header("content-type", "application/json")
        .body(message)
        .send()
        .await?;
    let status = answer.status();
    ensure!(
        status == StatusCode::UNAUTHORIZED,
        "the answer was {status}"
    );
    let challenge = answer
        .headers()
        .get(WWW_AUTHENTICATE)
        .context("no challenge")?
        .to_str()?
        .to_owned();
    let metadata = challenge
        .split_once("resource_metadata=\"")
        .and_then(|(_, rest)| rest.split_once('"'))
        .context("the challenge names no metadata")?
        .0
        .to_owned();
    Ok((challenge, format!("and told where to read on: {metadata}")))
}

async fn discovery(demo: &Deployment, challenge: &str) -> Result<(AuthorizationManager, String)> {
    let mut manager = AuthorizationManager::new(demo.url()).await?;
    let found = manager
        .resolve_metadata_from_challenge(Some(challenge))
        .await?
        .metadata;
    let issuer = found.issuer.clone().unwrap_or_default();
    ensure!(issuer == demo.service.issuer(), "the issuer is {issuer:?}");
    manager.set_metadata(found);
    Ok((manager, issuer))
}

async fn registration(manager: &mut AuthorizationManager) -> Result<((), String)> {
    let scopes = manager.select_scopes(None, &[]);
    let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
    let registered = manager.register_client(NAME, REDIRECT_URI, &scopes).await?;
    Ok((
        (),
        format!("as {}, for {}", registered.client_id, scopes.join(" ")),
    ))
}

async fn sign_in(
    demo: &Deployment,
    manager: &AuthorizationManager,
) -> Result<((Url, Vec<Step>), String)> {
    let scopes = manager.select_scopes(None, &[]);
    let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
    let start = manager.get_authorization_url(&scopes).await?;
    let mut browser = demo.browser()?;
    let landed = browser.open(&start).await?;
    demo.wait_for_registrations().await?;
    let back = format!("and back to {}", landed.host_str().unwrap_or_default());
    Ok(((landed, browser.seen().to_vec()), back))
}

async fn redemption(manager: &AuthorizationManager, landed: &Url) -> Result<((), String)> {
    let answer = AuthorizationCallback::from_redirect_url(landed.as_str())?;
    manager
        .exchange_code_for_token_with_issuer(
            &answer.code,
            &answer.csrf_token,
            answer.issuer.as_deref(),
        )
        .await?;
    Ok((
        (),
        "a token for the assistant, good at the gateway only".to_owned(),
    ))
}

fn in_words(step: &Step) -> String {
    match step {
        Step::Page { address, heading } => format!("    {address}   “{heading}”"),
        Step::Redirect(address) => format!("  → {address}"),
    }
}
