//! An enforcement point that is not the filter asks the token service, and hears what the filter and it decide together.

use serde_json::{Value, json};
use writ_tests::deployment::{Deployment, Options};
use writ_tests::mcp;
use writ_tests::registrations::{ASSISTANT, BATCH, GATEWAY, SCOPES, USER};

/// Calls of the user's and of an autonomous agent's: some are allowed, some are not.
const CALLS: [(&str, &str); 6] = [
    ("listAccounts", "{}"),
    ("getAccount", r#"{"account": "ops"}"#),
    ("reconcile", r#"{"account": "ops"}"#),
    (
        "transfer",
        r#"{"from": "ops", "to": "payroll", "amount": 20, "currency": "EUR"}"#,
    ),
    (
        "transfer",
        r#"{"from": "ops", "to": "payroll", "amount": 20000, "currency": "EUR"}"#,
    ),
    ("exportAuditReport", "{}"),
];

struct World(Deployment);

impl World {
    /// Whether the filter let a call through, or else the reason.
    async fn through_the_gateway(
        &self,
        token: &str,
        tool: &str,
        arguments: &Value,
    ) -> Option<String> {
        let answer = self
            .0
            .post_call(token, tool, arguments)
            .send()
            .await
            .unwrap();
        let answer = mcp::message_in(&answer.text().await.unwrap()).unwrap();
        let reason = answer["error"]["message"].as_str().map(str::to_owned);
        assert_eq!(reason.is_none(), answer.get("result").is_some(), "{answer}");
        reason
    }

    /// The same as an enforcement point with the gateway's credentials hears it.
    async fn by_asking(
        &self,
        subject: Value,
        agent: &str,
        tool: &str,
        arguments: &Value,
    ) -> Option<String> {
        let url = format!(
            "http://127.0.0.1:{}/access/v1/evaluation",
            self.0.service.gateway_port()
        );
        let request = self.0.http.post(url);
        let request = request.basic_auth(GATEWAY, Some(&self.0.registered.gateway_secret));
        let question = json!({
            "subject": subject,
            "action": {"name": "tools/call", "properties": {"arguments": arguments}},
            "resource": {"type": "tool", "id": tool},
            "context": {"agent": agent},
        });
        let answer = request.json(&question).send().await.unwrap();
        let answer: Value = answer.error_for_status().unwrap().json().await.unwrap();
        let reason = answer["context"]["reason_user"]["403"].as_str();
        assert_eq!(answer["decision"] == true, reason.is_none(), "{answer}");
        reason.map(str::to_owned)
    }
}

#[tokio::test]
async fn another_enforcement_point_hears_what_the_gateway_decides() {
    let world = World(Deployment::start(Options::named("authzen")).await.unwrap());
    let user = world.0.user_token().await.unwrap();
    let batch = world.0.batch_token().await.unwrap();
    let mut decided = Vec::new();
    for (tool, arguments) in CALLS {
        let arguments: Value = serde_json::from_str(arguments).unwrap();
        for (token, kind, id, agent) in [
            (&user, "user", USER, ASSISTANT),
            (&batch, "workload", BATCH, BATCH),
        ] {
            let subject = json!({"type": kind, "id": id, "properties": {"scope": SCOPES}});
            let told = world.by_asking(subject, agent, tool, &arguments).await;
            let seen = world.through_the_gateway(token, tool, &arguments).await;
            assert_eq!(told, seen, "{id} {tool} {arguments}");
            decided.push(told.is_none());
        }
    }
    assert!(
        decided.contains(&true) && decided.contains(&false),
        "{decided:?}"
    );

    world.0.service.cli(&["user", "disable", USER]).unwrap();
    let subject = json!({"type": "user", "id": USER, "properties": {"scope": SCOPES}});
    let told = world
        .by_asking(subject, ASSISTANT, "listAccounts", &json!({}))
        .await;
    assert_eq!(told.as_deref(), Some("the subject is disabled"));
}
