//! Stock MCP clients that know nothing but the server's URL: from a 401 by way of the server's and the issuer's
//! metadata, registration, the user's sign-in at the corporate identity provider and consent to an allowed call through Envoy, and on when the token has
//! expired.

use std::rc::Rc;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::task::{JoinSet, LocalSet};
use url::Url;
use writ_tests::clients::{Sdk, Story};
use writ_tests::deployment::{Deployment, Options};
use writ_tests::documents::Documents;
use writ_tests::mcp::{self, Application, Era};
use writ_tests::registrations::{REDIRECT_URI, USER};
use writ_tests::signer::unix_now;
use writ_tests::wait::{PATIENCE, until};

/// The life of a caller's token here: short enough to wait for its end.
const TOKEN_LIFE_S: u64 = 25;
/// How much later than the issuer the filter takes a token to be expired.
const SKEW_S: u64 = 5;

/// A stock client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    Script(Sdk),
    Rmcp(Era),
}

const CLIENTS: [Client; 5] = [
    Client::Script(Sdk::TypeScriptV1),
    Client::Script(Sdk::TypeScriptV2(Era::Stateless)),
    Client::Script(Sdk::Python(Era::Stateless)),
    Client::Rmcp(Era::Sessions),
    Client::Rmcp(Era::Stateless),
];

/// How it came to be signed in.
#[derive(Debug)]
struct SignedIn {
    client_id: String,
}

/// Until the first token of whoever is signed in by now has expired.
async fn expiry() -> Result<()> {
    let dead = unix_now() + TOKEN_LIFE_S + SKEW_S;
    until("a token's end", PATIENCE, async || {
        (unix_now() > dead).then_some(())
    })
    .await
}

fn accounts(result: &Value) -> Option<usize> {
    let accounts = result.pointer("/structuredContent/accounts")?;
    accounts.as_array().map(Vec::len)
}

/// The user goes through the pages, and takes as long as anybody would.
async fn visit(writ: &Deployment, page: &str) -> Result<Url> {
    let landed = writ.browser()?.open(page).await?;
    writ.wait_for_registrations().await?;
    Ok(landed)
}

/// Signs in, calls, waits until the token has expired, calls again.
async fn scripted(sdk: Sdk, writ: &Deployment, application: &Application) -> Result<SignedIn> {
    let call = json!({ "call": "listAccounts", "arguments": {} });
    let steps = json!([call, { "pause": true }, call, { "signed_in": true }]);
    let mut story = Story::signing_in(sdk, &writ.url(), application, &steps).await?;
    let mut called = 0;
    loop {
        let line = story
            .next()
            .await?
            .with_context(|| format!("{sdk:?} ended early"))?;
        if line.get("connected").is_some() {
        } else if let Some(page) = line.get("open").and_then(Value::as_str) {
            story.landed(&visit(writ, page).await?).await?;
        } else if line.get("paused").is_some() {
            expiry().await?;
            story.go_on().await?;
        } else if let Some(client_id) = line.get("client_id").and_then(Value::as_str) {
            ensure!(called == 2, "{sdk:?} called {called} times");
            ensure!(line["granted"] == 2, "{sdk:?} did not refresh: {line}");
            return Ok(SignedIn {
                client_id: client_id.to_owned(),
            });
        } else {
            ensure!(accounts(&line["result"]) == Some(3), "{sdk:?}: {line}");
            called += 1;
        }
    }
}

async fn rmcp(era: Era, writ: &Deployment, application: &Application) -> Result<SignedIn> {
    let (client, client_id) = mcp::sign_in(&writ.url(), application, era, async |page| {
        visit(writ, page).await
    })
    .await?;
    for pause in [true, false] {
        let result = mcp::call(&client, "listAccounts", json!({})).await?;
        ensure!(
            accounts(&serde_json::to_value(&result)?) == Some(3),
            "rmcp, {era:?}: {result:?}"
        );
        if pause {
            expiry().await?;
        }
    }
    Ok(SignedIn { client_id })
}

/// All clients at once; answers who they were registered as.
async fn sign_in_all(writ: &Rc<Deployment>, application: &Application) -> Vec<(Client, SignedIn)> {
    let mut sessions = JoinSet::new();
    for client in CLIENTS {
        let (writ, application) = (Rc::clone(writ), application.clone());
        sessions.spawn_local(async move {
            let signed_in = match client {
                Client::Script(sdk) => scripted(sdk, &writ, &application).await,
                Client::Rmcp(era) => rmcp(era, &writ, &application).await,
            };
            (client, signed_in)
        });
    }
    let all = sessions.join_all().await;
    all.into_iter()
        .map(|(client, signed_in)| {
            (
                client,
                signed_in.unwrap_or_else(|e| panic!("{client:?}: {e:#}")),
            )
        })
        .collect()
}

/// That tokens were issued to these clients for the user by code, and by refresh token.
fn assert_on_record(writ: &Deployment, client_id: &str) {
    let records = writ.service.audit().unwrap();
    for grant in ["authorization_code", "refresh_token"] {
        let issued = records.iter().any(|record| {
            record["kind"] == "token_issued"
                && record["agent"] == client_id
                && record["subject"] == USER
                && record["detail"]["grant"] == grant
        });
        assert!(issued, "no {grant} of {client_id} is on record");
    }
}

#[tokio::test]
async fn from_a_401_to_an_allowed_call_by_registering_or_by_document() {
    let documents = Documents::host("A stock client with a document", REDIRECT_URI)
        .await
        .unwrap();
    let authority = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(authority.path(), documents.authority()).unwrap();
    let config = format!(
        "[outbound]\n\
         allow = [\"127.0.0.0/8\"]\n\
         ca_file = {:?}\n\
         [registration]\n\
         open = true\n\
         [registration.client_documents]\n\
         enabled = true\n\
         domains = [\"127.0.0.1\"]\n",
        authority.path()
    );
    let options = Options {
        service_config: Some(config),
        corporate: true,
        service_env: vec![(
            "WRIT_TOKENS__CALLER_TTL".to_owned(),
            format!("{TOKEN_LIFE_S}s"),
        )],
        ..Options::named("clients-mcp")
    };
    let writ = Rc::new(Deployment::start(options).await.unwrap());

    let by_registering = Application {
        redirect_uri: REDIRECT_URI.to_owned(),
        metadata_url: None,
    };
    let by_document = Application {
        metadata_url: Some(documents.url()),
        ..by_registering.clone()
    };
    let (registered, documented) = LocalSet::new()
        .run_until(async {
            tokio::join!(
                sign_in_all(&writ, &by_registering),
                sign_in_all(&writ, &by_document)
            )
        })
        .await;
    for (client, signed_in) in registered {
        assert!(
            !signed_in.client_id.starts_with("https:"),
            "{client:?}: {signed_in:?}"
        );
        assert_on_record(&writ, &signed_in.client_id);
    }
    for (client, signed_in) in documented {
        assert_eq!(signed_in.client_id, documents.url(), "{client:?}");
        assert_on_record(&writ, &signed_in.client_id);
    }
}
