//! The ledger as a plain MCP server, before anything stands in front of it.

use serde_json::json;
use writ_tests::ledger::Ledger;
use writ_tests::mcp::{self, Era};

#[tokio::test]
async fn it_speaks_both_wire_eras() {
    let ledger = Ledger::start_open(Ledger::bind().await.unwrap())
        .await
        .unwrap();
    for era in Era::ALL {
        let client = mcp::connect(&ledger.url(), "unused", era).await.unwrap();
        let tools = client.list_all_tools().await.unwrap();
        let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_ref()).collect();
        assert_eq!(
            names,
            [
                "exportAuditReport",
                "getAccount",
                "listAccounts",
                "reconcile",
                "transfer"
            ],
            "{era:?}"
        );
        let answer = mcp::call(&client, "getAccount", json!({"account": "ops"}))
            .await
            .unwrap();
        assert_eq!(
            answer.structured_content,
            Some(json!({"id": "ops", "name": "Operations", "currency": "EUR", "balance": 48_200})),
            "{era:?}"
        );
    }
}

#[tokio::test]
async fn a_transfer_is_booked_whole_or_not_at_all() {
    let ledger = Ledger::start_open(Ledger::bind().await.unwrap())
        .await
        .unwrap();
    let client = mcp::connect(&ledger.url(), "unused", Era::Stateless)
        .await
        .unwrap();
    let order =
        |amount: i64| json!({"from": "ops", "to": "payroll", "amount": amount, "currency": "EUR"});

    let done = mcp::call(&client, "transfer", order(200)).await.unwrap();
    assert_ne!(done.is_error, Some(true));
    let refused = mcp::call(&client, "transfer", order(1_000_000))
        .await
        .unwrap();
    assert_eq!(refused.is_error, Some(true));

    assert_eq!(ledger.book().account("ops").unwrap().balance, 48_000);
    assert_eq!(ledger.book().account("payroll").unwrap().balance, 122_100);
}

mod verifying {
    //! The ledger with the real token service and without a gateway: this test is the gateway.

    use serde_json::{Value, json};
    use writ_tests::deployment::{demo_policy, verifying_ledger};
    use writ_tests::ledger::Ledger;
    use writ_tests::mcp;
    use writ_tests::oauth::{Client, client_credentials};
    use writ_tests::registrations::{BATCH, GATEWAY, Registrations, SCOPES, SERVER};
    use writ_tests::scratch::Scratch;
    use writ_tests::token_service::{Options, TokenService};

    const RESOURCE: &str = "http://127.0.0.1:1/mcp";

    struct World {
        service: TokenService,
        ledger: Ledger,
        registered: Registrations,
        http: reqwest::Client,
        _scratch: Scratch,
    }

    impl World {
        async fn start(name: &str) -> Self {
            let scratch = Scratch::new(name).unwrap();
            let options = Options {
                policy: Some(demo_policy(&scratch).unwrap()),
                ..Options::default()
            };
            let mut service = TokenService::prepare(&scratch, options).unwrap();
            let registered = Registrations::make(&service, &scratch, RESOURCE).unwrap();
            service.serve().await.unwrap();
            let listener = Ledger::bind().await.unwrap();
            let ledger = verifying_ledger(listener, &service, &registered)
                .await
                .unwrap();
            Self {
                service,
                ledger,
                registered,
                http: reqwest::Client::new(),
                _scratch: scratch,
            }
        }

        async fn caller_token(&self) -> String {
            let client = Client::Secret {
                id: BATCH,
                secret: &self.registered.batch_secret,
            };
            client_credentials(&self.service.issuer(), &client, RESOURCE, SCOPES)
                .await
                .unwrap()
        }

        /// Exchanges the caller's token as a gateway does.
        async fn mint(&self, message: &Value) -> String {
            let body = message.to_string();
            let detail = json!([{
                "type": "mcp_request",
                "server": SERVER,
                "method": message["method"],
                "target": message["params"]["name"],
                "content_digest": digest(&body),
            }]);
            let context = json!({
                "request_id": "test", "time": "2026-11-23T10:00:00Z", "source_ip": "127.0.0.1", "headers": {},
                "policy_revision": "test",
            });
            let form = [
                (
                    "grant_type",
                    "urn:ietf:params:oauth:grant-type:token-exchange".to_owned(),
                ),
                ("subject_token", self.caller_token().await),
                (
                    "subject_token_type",
                    "urn:ietf:params:oauth:token-type:access_token".to_owned(),
                ),
                (
                    "requested_token_type",
                    "urn:ietf:params:oauth:token-type:access_token".to_owned(),
                ),
                ("resource", RESOURCE.to_owned()),
                ("authorization_details", detail.to_string()),
                ("mcp_message", base64url(body.as_bytes())),
                ("mcp_context", context.to_string()),
            ];
            let answer = self
                .http
                .post(format!(
                    "http://127.0.0.1:{}/oauth/token",
                    self.service.gateway_port()
                ))
                .basic_auth(GATEWAY, Some(&self.registered.gateway_secret))
                .form(&form)
                .send()
                .await
                .unwrap();
            let (status, text) = (answer.status(), answer.text().await.unwrap());
            assert_eq!(status, 200, "{text}");
            let answer: Value = serde_json::from_str(&text).unwrap();
            answer["access_token"].as_str().unwrap().to_owned()
        }

        async fn send(&self, token: &str, tool: &str, arguments: Value) -> (u16, String) {
            let answer = mcp::post_call(&self.http, &self.ledger.url(), token, tool, &arguments)
                .send()
                .await
                .unwrap();
            let challenge = answer
                .headers()
                .get("www-authenticate")
                .map(|value| value.to_str().unwrap().to_owned());
            (answer.status().as_u16(), challenge.unwrap_or_default())
        }

        fn rogues(&self) -> Vec<Value> {
            let records = self.service.audit().unwrap();
            records
                .into_iter()
                .filter(|record| record["kind"] == "rogue" && record["decision"] == "deny")
                .collect()
        }
    }

    fn digest(body: &str) -> String {
        use base64::{Engine, prelude::BASE64_STANDARD};
        use sha2::{Digest, Sha256};
        format!("sha-256=:{}:", BASE64_STANDARD.encode(Sha256::digest(body)))
    }

    fn base64url(bytes: &[u8]) -> String {
        use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    #[tokio::test]
    async fn a_minted_token_is_good_for_its_call_once() {
        let world = World::start("ledger-once").await;
        let token = world
            .mint(&mcp::call_message("reconcile", &json!({})))
            .await;
        assert_eq!(world.send(&token, "reconcile", json!({})).await.0, 200);
        let (status, challenge) = world.send(&token, "reconcile", json!({})).await;
        assert_eq!(status, 401);
        assert!(challenge.contains("already used"), "{challenge}");
        assert_eq!(world.rogues().len(), 1, "{:?}", world.rogues());
    }

    #[tokio::test]
    async fn a_minted_token_is_good_for_no_other_call() {
        let world = World::start("ledger-other").await;
        for (tool, arguments) in [
            ("transfer", json!({})),
            ("reconcile", json!({ "deep": true })),
        ] {
            let token = world
                .mint(&mcp::call_message("reconcile", &json!({})))
                .await;
            let (status, challenge) = world.send(&token, tool, arguments).await;
            assert_eq!(status, 401);
            assert!(challenge.contains("another message"), "{challenge}");
            // Whoever saw it misused can no longer use it properly either.
            assert_eq!(world.send(&token, "reconcile", json!({})).await.0, 401);
        }
    }

    #[tokio::test]
    async fn whatever_is_no_minted_token_is_refused_and_reported() {
        let world = World::start("ledger-rogue").await;
        let personal = format!("ghp_{}", "a1B2c3D4e5F6".repeat(3));
        let caller = world.caller_token().await;
        for token in [personal.as_str(), caller.as_str(), "nonsense"] {
            let (status, challenge) = world.send(token, "reconcile", json!({})).await;
            assert_eq!(status, 401);
            assert!(
                challenge.contains("not a token minted for this server"),
                "{challenge}"
            );
        }
        let rogues = world.rogues();
        assert_eq!(rogues.len(), 3, "{rogues:?}");
        for secret in [&personal, &caller] {
            assert!(
                !format!("{rogues:?}").contains(secret.as_str()),
                "a credential is in the audit trail"
            );
        }
        assert!(rogues.iter().all(|record| record["server"] == SERVER));
    }
}
