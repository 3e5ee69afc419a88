//! The story: what is allowed, what is refused and why, and what a stolen token is worth.

use anyhow::{Context, Result, bail, ensure};
use reqwest::StatusCode;
use reqwest::header::WWW_AUTHENTICATE;
use rmcp::ServiceError;
use serde_json::{Value, json};
use writ_tests::deployment::Deployment;
use writ_tests::ledger::tap::Heard;
use writ_tests::mcp::{self, Era, McpClient};

use crate::stage::Stage;
use crate::{arrival, changed, guarded, proved, stopped};

/// Plays every scene; what goes wrong is on the stage.
pub async fn tell(demo: &Deployment, stage: &mut Stage) {
    let user_token = a_user_and_her_agent(demo, stage).await;
    an_agent_of_its_own(demo, stage).await;
    nobody(demo, stage).await;
    past_the_gateway(demo, stage, user_token.as_deref()).await;
    a_stolen_token(demo, stage).await;
    guarded::a_server_that_checks_nothing(demo, stage).await;
    changed::a_policy(demo, stage).await;
    stopped::an_agent_and_everything(demo, stage).await;
    proved::the_log(demo, stage).await;
}

/// (a), (b), (c): the assistant finds its way in and alice signs in, then it works for her within what she may do.
async fn a_user_and_her_agent(demo: &Deployment, stage: &mut Stage) -> Option<String> {
    stage.heading("alice and her assistant, which knows nothing but the ledger's URL");
    let manager = arrival::of_the_assistant(demo, stage).await?;
    let token = manager.get_access_token().await.ok()?;
    let client = stage
        .step(
            "(a) the assistant connects and sees the tools it may call, and no others",
            async {
                let client = mcp::connect_authorized(&demo.url(), manager, Era::Stateless).await?;
                let tools = client.list_all_tools().await?;
                let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_ref()).collect();
                ensure!(
                    !names.contains(&"exportAuditReport"),
                    "a tool is listed that alice may not call: {names:?}"
                );
                Ok((client, names.join(", ")))
            },
        )
        .await;
    if let Some(client) = client {
        the_assistant_at_work(demo, stage, &client).await;
    }
    Some(token)
}

async fn the_assistant_at_work(demo: &Deployment, stage: &mut Stage, client: &McpClient) {
    stage
        .step(
            "(a) it lists the accounts",
            allowed(client, "listAccounts", json!({})),
        )
        .await;
    stage
        .step(
            "(b) a transfer of 250 EUR is within the policy's limit",
            allowed(client, "transfer", order(250)),
        )
        .await;
    stage
        .step(
            "(b) a transfer of 25000 EUR is not, and the agent is told why",
            refused(client, "transfer", order(25_000), "above the limit of 1000"),
        )
        .await;
    stage
        .step(
            "(c) the audit report is for another group than alice's",
            refused(
                client,
                "exportAuditReport",
                json!({}),
                "no grant for exportAuditReport",
            ),
        )
        .await;
    stage
        .step(
            "    and nothing that was refused reached the ledger",
            async {
                ensure!(
                    demo.ledger.tap().last_call("exportAuditReport").is_none(),
                    "the refused call reached the ledger"
                );
                let balance = demo
                    .ledger
                    .book()
                    .account("ops")
                    .context("the account is gone")?
                    .balance;
                ensure!(balance == 47_950, "the balance is {balance}");
                Ok(((), format!("the account stands at {balance} EUR")))
            },
        )
        .await;
}

/// (d): an agent with a key and no user.
async fn an_agent_of_its_own(demo: &Deployment, stage: &mut Stage) {
    stage.heading("the nightly reconciler: a key of its own, no user");
    let client = stage
        .step("(d) it signs in with its key (private_key_jwt)", async {
            let token = demo.reconciler_token().await?;
            let client = mcp::connect(&demo.url(), &token, Era::Sessions).await?;
            Ok((
                client,
                "connected, in the session era's protocol".to_owned(),
            ))
        })
        .await;
    let Some(client) = client else { return };
    stage
        .step(
            "(d) it reconciles the books",
            allowed(&client, "reconcile", json!({})),
        )
        .await;
    stage
        .step(
            "(d) it may do nothing else",
            refused(
                &client,
                "transfer",
                order(1),
                "its registration does not name this",
            ),
        )
        .await;
}

/// (e): a call without a token.
async fn nobody(demo: &Deployment, stage: &mut Stage) {
    stage.heading("nobody in particular");
    stage
        .step("(e) a call without a token is challenged", async {
            let message = mcp::call_message("listAccounts", &json!({})).to_string();
            let answer = demo
                .http
                .post(demo.url())
                .header("content-type", "application/json")
                .body(message)
                .send()
                .await?;
            ensure!(
                answer.status() == StatusCode::UNAUTHORIZED,
                "the answer was {}",
                answer.status()
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
                .0;
            let metadata: Value = demo
                .http
                .get(metadata)
                .send()
                .await?
                .error_for_status()?
                .json()
                .await?;
            let issuer = metadata
                .pointer("/authorization_servers/0")
                .and_then(Value::as_str)
                .unwrap_or_default();
            ensure!(
                issuer == demo.service.issuer(),
                "the metadata names {issuer:?} as the authorization server"
            );
            Ok(((), format!("401, and where to get one: {issuer}")))
        })
        .await;
}

/// (f), (h): credentials sent to the server itself.
async fn past_the_gateway(demo: &Deployment, stage: &mut Stage, user_token: Option<&str>) {
    stage.heading("past the gateway, straight to the ledger");
    // Not a real one, but of the form that is looked for.
    let personal = format!("ghp_{}", "a1B2c3D4e5F6".repeat(3));
    stage
        .step(
            "(f) a personal access token is refused and reported as rogue",
            async {
                refused_by_ledger(demo, &personal, "listAccounts", &json!({})).await?;
                let record = rogue(demo, "github").await?;
                Ok(((), record))
            },
        )
        .await;
    let Some(token) = user_token else { return };
    stage
        .step(
            "(h) the assistant's own token is refused there, and reported",
            async {
                refused_by_ledger(demo, token, "listAccounts", &json!({})).await?;
                let record = rogue(demo, "caller_token").await?;
                Ok(((), record))
            },
        )
        .await;
}

/// (g): the token that was minted for a call is caught by whoever reads what the server reads.
async fn a_stolen_token(demo: &Deployment, stage: &mut Stage) {
    stage.heading("a thief who reads what reaches the ledger");
    let caught = stage
        .step(
            "(g) the token minted for the call of listAccounts is caught",
            async {
                let caught = demo
                    .ledger
                    .tap()
                    .heard()
                    .into_iter()
                    .find(|heard| heard.calls("listAccounts"));
                let caught = caught
                    .filter(|heard| heard.status == Some(StatusCode::OK))
                    .context("there was no such call")?;
                Ok((
                    caught,
                    "on its way into the ledger, headers and all".to_owned(),
                ))
            },
        )
        .await;
    let Some(caught) = caught else { return };
    let token = caught.bearer().unwrap_or_default().to_owned();
    stage
        .step(
            "(g) the minted token is sent again with the same call",
            async {
                let text = again(demo, &caught).await?;
                Ok(((), text))
            },
        )
        .await;
    stage
        .step("(g) … for another tool", async {
            let text = refused_by_ledger(demo, &token, "exportAuditReport", &json!({})).await?;
            Ok(((), text))
        })
        .await;
    stage
        .step("(g) … with other arguments", async {
            let text =
                refused_by_ledger(demo, &token, "listAccounts", &json!({"all": true})).await?;
            Ok(((), text))
        })
        .await;
    stage
        .step("(g) … as a caller's token at the gateway", async {
            let answer = demo
                .post_call(&token, "listAccounts", &json!({}))
                .send()
                .await?;
            let (status, challenge) = (answer.status(), challenge(&answer));
            ensure!(
                status == StatusCode::UNAUTHORIZED,
                "the answer was {status}"
            );
            ensure!(
                challenge.contains("invalid_token"),
                "the challenge was {challenge:?}"
            );
            Ok(((), said(&challenge)))
        })
        .await;
}

fn order(amount: i64) -> Value {
    json!({ "from": "ops", "to": "payroll", "amount": amount, "currency": "EUR" })
}

/// A call that comes back with a result.
async fn allowed(client: &McpClient, tool: &str, arguments: Value) -> Result<((), String)> {
    let result = mcp::call(client, tool, arguments).await?;
    ensure!(result.is_error != Some(true), "the tool failed: {result:?}");
    let answer = result.structured_content.unwrap_or_default();
    let text = match answer.get("accounts").and_then(Value::as_array) {
        Some(accounts) => format!("{} accounts", accounts.len()),
        None => answer
            .get("text")
            .and_then(Value::as_str)
            .unwrap_or("done")
            .to_owned(),
    };
    Ok(((), text))
}

/// A call that policy refuses, for this reason.
async fn refused(
    client: &McpClient,
    tool: &str,
    arguments: Value,
    reason: &str,
) -> Result<((), String)> {
    match mcp::call(client, tool, arguments).await {
        Err(ServiceError::McpError(error)) => {
            let kind = error
                .data
                .as_ref()
                .and_then(|data| data.get("type"))
                .and_then(Value::as_str);
            ensure!(
                kind == Some("policy_denied"),
                "refused otherwise: {error:?}"
            );
            ensure!(
                error.message.contains(reason),
                "refused with another reason: {}",
                error.message
            );
            Ok(((), format!("“{}”", error.message)))
        }
        Err(error) => Err(error).context("refused, but not by policy"),
        Ok(_) => bail!("{tool} went through"),
    }
}

/// A call straight at the ledger that it refuses; answers what it said.
async fn refused_by_ledger(
    demo: &Deployment,
    token: &str,
    tool: &str,
    arguments: &Value,
) -> Result<String> {
    let answer = mcp::post_call(&demo.http, &demo.ledger.url(), token, tool, arguments)
        .send()
        .await?;
    refusal(answer)
}

/// Exactly what was caught, sent again.
async fn again(demo: &Deployment, caught: &Heard) -> Result<String> {
    let answer = demo
        .http
        .request(caught.method.clone(), demo.ledger.url())
        .headers(caught.headers.clone())
        .body(caught.body.clone())
        .send()
        .await?;
    refusal(answer)
}

fn refusal(answer: reqwest::Response) -> Result<String> {
    ensure!(
        answer.status() == StatusCode::UNAUTHORIZED,
        "the ledger answered {}",
        answer.status()
    );
    Ok(said(&challenge(&answer)))
}

fn challenge(answer: &reqwest::Response) -> String {
    let value = answer
        .headers()
        .get(WWW_AUTHENTICATE)
        .and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

fn said(challenge: &str) -> String {
    let description = challenge
        .split_once("error_description=\"")
        .and_then(|(_, rest)| rest.split_once('"'));
    description.map_or_else(|| "401".to_owned(), |(text, _)| format!("401, “{text}”"))
}

/// Waits for the audit record of a rogue credential of this kind.
async fn rogue(demo: &Deployment, kind: &str) -> Result<String> {
    demo.audit_record(&format!("a rogue {kind}"), |record| {
        record.get("kind").is_some_and(|found| found == "rogue")
            && record.to_string().contains(kind)
    })
    .await?;
    Ok(format!(
        "401, and on record as rogue: {}",
        kind.replace('_', " ")
    ))
}
