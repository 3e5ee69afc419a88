//! The guard on real Envoys: client, gateway, guard, and a ledger that believes whatever gets that far.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use reqwest::header::{AUTHORIZATION, HeaderMap};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use writ_tests::binaries::workspace;
use writ_tests::deployment::{Deployment, Options};
use writ_tests::envoy::Envoy;
use writ_tests::exchange::{self, content_digest};
use writ_tests::guard::{self, GUARD};
use writ_tests::mcp::{self, Era, call_message};
use writ_tests::ports;
use writ_tests::registrations::{AUDIENCE, GATEWAY, SERVER};
use writ_tests::wait::{PATIENCE, until};

/// A guard that remembers by itself, from now on: everything here has one clock.
const LOCAL: [(&str, &str); 2] = [
    ("\"single_use\": \"global\"", "\"single_use\": \"local\""),
    ("\"clock_skew\": \"5s\"", "\"clock_skew\": \"0s\""),
];

struct World {
    deployment: Deployment,
    guard: Envoy,
    secret: String,
    options: guard::Options,
}

impl World {
    async fn start(name: &str, workers: u32, yaml: &[(&str, &str)]) -> Self {
        let port = ports::free().unwrap();
        let deployment = Deployment::start(Options {
            upstream: Some(port),
            open_ledger: true,
            // What is minted beforehand is presented before it expires, however busy the machine.
            service_env: vec![("WRIT_TOKENS__MINTED_TTL".to_owned(), "60s".to_owned())],
            ..Options::named(name)
        })
        .await
        .unwrap();
        let yaml = yaml
            .iter()
            .map(|(from, to)| ((*from).to_owned(), (*to).to_owned()))
            .collect();
        let options = guard::Options {
            workers,
            yaml,
            server: deployment.ledger.address().port(),
            port,
        };
        let secret = guard::register(&deployment.service).unwrap();
        let guard = guard::start(&deployment.scratch, &deployment.service, &secret, &options)
            .await
            .unwrap();
        Self {
            deployment,
            guard,
            secret,
            options,
        }
    }

    async fn restart_guard(&mut self) {
        self.guard.process_mut().kill();
        let (scratch, service) = (&self.deployment.scratch, &self.deployment.service);
        self.guard = guard::start(scratch, service, &self.secret, &self.options)
            .await
            .unwrap();
    }

    /// A token as the gateway gets it for this body, which then does not send it.
    async fn minted(&self, body: &str) -> String {
        let caller = self.deployment.batch_token().await.unwrap();
        let resource = &self.deployment.registered.resource;
        let form = exchange::form(&caller, SERVER, resource, body).unwrap();
        let port = self.deployment.service.gateway_port();
        let answer: Value = self
            .deployment
            .http
            .post(format!("http://127.0.0.1:{port}/oauth/token"))
            .basic_auth(GATEWAY, Some(&self.deployment.registered.gateway_secret))
            .form(&form)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        answer["access_token"]
            .as_str()
            .unwrap_or_else(|| panic!("{answer}"))
            .to_owned()
    }

    /// Sends a body straight to the guard, past the gateway.
    async fn past(&self, authorization: &str, body: &str) -> (u16, Value) {
        let url = self.guard.url("/mcp");
        send(url, authorization.to_owned(), body.to_owned()).await
    }

    async fn past_with(&self, token: &str, body: &str) -> u16 {
        self.past(&format!("Bearer {token}"), body).await.0
    }

    fn reached(&self) -> usize {
        self.deployment.ledger.tap().count()
    }

    fn rogues(&self) -> Vec<Value> {
        let records = self.deployment.service.audit().unwrap();
        records
            .into_iter()
            .filter(|record| record["kind"] == "rogue" && record["decision"] == "deny")
            .collect()
    }

    /// The rogue accesses on record, once one of this kind is among them.
    async fn rogue(&self, credential: &str) -> Value {
        let wanted = |record: &Value| {
            record["kind"] == "rogue" && record["detail"]["credential"] == credential
        };
        self.deployment
            .audit_record(credential, wanted)
            .await
            .unwrap()
    }

    /// Each worker has answered at least one of these.
    async fn every_worker_has_answered(&self) -> bool {
        let stats = self.guard.stats("worker_").await.unwrap();
        let served: BTreeSet<_> = stats
            .iter()
            .filter(|(name, count)| name.ends_with("downstream_cx_total") && **count > 0)
            .map(|(name, _)| name.clone())
            .collect();
        served.len() >= self.options.workers as usize
    }
}

/// Posts a body on a connection of its own.
async fn send(url: String, authorization: String, body: String) -> (u16, Value) {
    let message: Value = serde_json::from_str(&body).unwrap_or_default();
    let tool = message["params"]["name"].as_str().unwrap_or_default();
    let answer = mcp::post_call(&Client::new(), &url, "", tool, &json!({}))
        .headers(HeaderMap::from_iter([(
            AUTHORIZATION,
            authorization.parse().unwrap(),
        )]))
        .body(body)
        .send()
        .await
        .unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, mcp::message_in(&text).unwrap_or(Value::Null))
}

fn reconcile() -> String {
    call_message("reconcile", &json!({})).to_string()
}

#[tokio::test]
async fn calls_pass_gateway_and_guard_in_both_eras_and_each_token_is_good_once() {
    let world = World::start("guard-global", 1, &[]).await;
    let token = world.deployment.batch_token().await.unwrap();
    for era in Era::ALL {
        let client = mcp::connect(&world.deployment.url(), &token, era)
            .await
            .unwrap();
        assert!(!client.list_all_tools().await.unwrap().is_empty());
        let answer = mcp::call(&client, "reconcile", json!({})).await.unwrap();
        assert_ne!(answer.is_error, Some(true), "{era:?}");
        client.cancel().await.unwrap();
    }
    assert!(world.rogues().is_empty(), "{:?}", world.rogues());

    let heard = world
        .deployment
        .ledger
        .tap()
        .last_call("reconcile")
        .unwrap();
    let stolen = heard.bearer().unwrap().to_owned();
    let body = String::from_utf8(heard.body.to_vec()).unwrap();
    assert_eq!(
        heard.headers["content-digest"].to_str().unwrap(),
        content_digest(&body)
    );
    let reached = world.reached();
    let (status, answer) = world.past(&format!("Bearer {stolen}"), &body).await;
    assert_eq!(status, 403, "{answer}");
    assert_eq!(answer["error"]["data"]["type"], "not_for_this");
    let told = answer["error"]["message"].as_str().unwrap();
    assert!(
        told.contains("used before") && told.contains("gateway"),
        "{told}"
    );
    assert_eq!(world.reached(), reached, "it did not get in");

    let rogue = world.rogue("replay").await;
    assert_eq!(rogue["subject"], "batch");
    assert_eq!(rogue["agent"], "batch");
    assert_eq!(rogue["gateway"], GUARD);
    assert_eq!(rogue["server"], SERVER);
    assert_eq!(rogue["source_ip"], "127.0.0.1");
    assert!(
        rogue["request_id"]
            .as_str()
            .is_some_and(|id| !id.is_empty())
    );
    assert!(!rogue.to_string().contains(&stolen[stolen.len() - 20..]));
    until("the guard's numbers", PATIENCE, async || {
        let rogue = world.guard.stats("writ.rogue").await.ok()?;
        let spent = world.guard.stats("writ.tokens.spent").await.ok()?;
        (rogue.values().sum::<u64>() == 1 && spent.values().sum::<u64>() >= 2).then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_token_is_good_for_no_other_tool_argument_or_byte() {
    let world = World::start("guard-binding", 1, &[]).await;
    let call = |tool: &str, arguments: Value| call_message(tool, &arguments).to_string();
    let body = call("getAccount", json!({"account": "ops"}));
    let token = world.minted(&body).await;
    for other in [
        call("transfer", json!({"account": "ops"})),
        call("getAccount", json!({"account": "payroll"})),
        format!("{body} "),
        body.replace("\"id\":", "\"id\": "),
        "{}".to_owned(),
    ] {
        let (status, answer) = world.past(&format!("Bearer {token}"), &other).await;
        assert_eq!(status, 403, "{other}: {answer}");
    }
    let discovery = world
        .minted(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#)
        .await;
    assert_eq!(world.past_with(&discovery, &body).await, 403);
    assert_eq!(world.reached(), 0);
    let rogue = world.rogue("wrong_binding").await;
    assert_eq!(rogue["agent"], "batch");
    // It was not spent on them: whoever it was minted for still gets through, once.
    assert_eq!(world.past_with(&token, &body).await, 200);
    assert_eq!(world.past_with(&token, &body).await, 403);
}

#[tokio::test]
async fn whatever_was_not_minted_for_this_server_is_refused_and_on_record_for_what_it_is() {
    let world = World::start("guard-rogues", 1, &[]).await;
    let own = world.deployment.batch_token().await.unwrap();
    let body = reconcile();
    let random = "a1B2c3D4e5F6a1B2c3D4e5F6a1B2c3D4e5F6";
    let foreign = {
        let part = |json: Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
        let header = part(json!({"alg": "RS256", "typ": "JWT", "kid": "1"}));
        let claims = part(json!({"iss": "https://login.example.com", "sub": "mallory"}));
        format!("Bearer {header}.{claims}.{random}")
    };
    let forged = {
        let minted = world.minted(&body).await;
        let (signed, _) = minted.rsplit_once('.').unwrap();
        format!("Bearer {signed}.{}", "A".repeat(86))
    };
    let brought = [
        (format!("Bearer {own}"), "caller_token", 401),
        (foreign, "jwt", 401),
        (forged, "forged", 401),
        (format!("Bearer ghp_{random}"), "github", 401),
        (format!("token github_pat_{random}"), "github", 401),
        (format!("Bearer glpat-{random}"), "gitlab", 401),
        (format!("Bearer xoxb-{random}"), "slack", 401),
        (format!("Bearer sk-{random}"), "secret_key", 401),
        (format!("Bearer sk-ant-{random}"), "anthropic", 401),
        (format!("Bearer npm_{random}"), "npm", 401),
        (
            format!("AWS4-HMAC-SHA256 Credential=AKIA{random}/20261125/eu/s3/aws4_request"),
            "aws",
            401,
        ),
        (
            format!("Basic {}", BASE64_STANDARD.encode(format!("bob:{random}"))),
            "basic",
            401,
        ),
        (format!("Bearer {random}"), "opaque", 401),
    ];
    for (authorization, credential, expected) in &brought {
        let (status, answer) = world.past(authorization, &body).await;
        assert_eq!(status, *expected, "{credential}: {answer}");
    }
    for (authorization, credential, _) in &brought {
        let rogue = world.rogue(credential).await;
        assert_eq!(rogue["source_ip"], "127.0.0.1", "{credential}");
        assert_eq!(rogue["gateway"], GUARD);
        assert_eq!(rogue["decision"], "deny");
        let all = format!("{:?}", world.deployment.service.audit().unwrap());
        assert!(!all.contains(authorization.as_str()), "{credential}");
        for secret in [random, &random[..12], &own[own.len() - 12..]] {
            assert!(!all.contains(secret), "{credential}");
        }
    }
    assert_eq!(world.rogue("caller_token").await["agent"], "batch");
    let issuer = &world.rogue("jwt").await["detail"]["issuer"];
    assert_eq!(issuer, "https://login.example.com");
    let listed = world
        .deployment
        .service
        .output(&["audit", "list", "--kind", "rogue"])
        .unwrap();
    assert!(String::from_utf8_lossy(&listed.stdout).contains("github"));

    let without = Client::new().post(world.guard.url("/mcp"));
    let answer = without.json(&json!({})).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    let challenge = answer.headers()["www-authenticate"].to_str().unwrap();
    let metadata = world
        .deployment
        .envoy
        .url("/.well-known/oauth-protected-resource/mcp");
    assert!(challenge.contains(&metadata), "{challenge}");
    assert_eq!(world.rogue("none").await["gateway"], GUARD);
    assert_eq!(world.reached(), 0);
}

#[tokio::test]
async fn a_token_for_another_server_is_refused() {
    let world = World::start(
        "guard-foreign",
        1,
        &[("\"server\": \"ledger\"", "\"server\": \"bank\"")],
    )
    .await;
    // Without a registration for this server the guard lets nothing in.
    let body = reconcile();
    let token = world.minted(&body).await;
    assert_eq!(world.past_with(&token, &body).await, 503);
    let add = [
        "server",
        "add",
        "bank",
        "--resource",
        "http://127.0.0.1/bank",
    ];
    let how = ["--audience", "urn:example:bank", "--enforcement", "guard"];
    let service = &world.deployment.service;
    service.cli(&[add.as_slice(), &how].concat()).unwrap();
    let secret = service
        .cli_secret(&[
            "gateway",
            "add",
            "bank-guard",
            "--kind",
            "guard",
            "--server",
            "bank",
        ])
        .unwrap();
    let mut world = world;
    world.secret = secret;
    world
        .options
        .yaml
        .push((GUARD.to_owned(), "bank-guard".to_owned()));
    world.restart_guard().await;
    let token = world.minted(&body).await;
    assert_eq!(world.past_with(&token, &body).await, 403);
    let rogue = world.rogue("foreign_token").await;
    assert_eq!(
        (&rogue["server"], &rogue["agent"]),
        (&json!("bank"), &json!("batch"))
    );
    assert_eq!(world.reached(), 0);
    assert_ne!(AUDIENCE, "urn:example:bank");
}

#[tokio::test]
async fn without_the_service_a_guard_with_global_single_use_lets_nothing_in_and_then_does_again() {
    let mut world = World::start("guard-away", 1, &[]).await;
    let body = reconcile();
    let first = world.minted(&body).await;
    world.deployment.service.stop();
    let (status, answer) = world.past(&format!("Bearer {first}"), &body).await;
    assert_eq!(status, 503, "{answer}");
    assert_eq!(answer["error"]["code"], 503);
    let told = answer["error"]["message"].as_str().unwrap();
    assert!(
        told.contains("could not spend") && told.contains("call again"),
        "{told}"
    );
    assert_eq!(world.reached(), 0);
    world.deployment.service.serve().await.unwrap();
    let spent = until("the guard to reach the service", PATIENCE, async || {
        let token = world.minted(&body).await;
        (world.past_with(&token, &body).await == 200).then_some(token)
    })
    .await
    .unwrap();
    assert_eq!(world.past_with(&spent, &body).await, 403);
}

#[tokio::test]
async fn a_guard_that_remembers_by_itself_spends_a_token_once_on_all_workers_without_the_service() {
    let mut world = World::start("guard-local", 2, &LOCAL).await;
    let body = reconcile();
    let mut tokens = Vec::new();
    for _ in 0..8 {
        tokens.push(world.minted(&body).await);
    }
    world.deployment.service.stop();
    let mut passed = 0;
    for token in &tokens {
        // Each on a connection of its own: Envoy gives them to both workers.
        let tries: JoinSet<_> = (0..8)
            .map(|_| {
                send(
                    world.guard.url("/mcp"),
                    format!("Bearer {token}"),
                    body.clone(),
                )
            })
            .collect();
        let answers: Vec<u16> = tries
            .join_all()
            .await
            .iter()
            .map(|(status, _)| *status)
            .collect();
        let good = answers.iter().filter(|status| **status == 200).count();
        let refused = answers.iter().filter(|status| **status == 403).count();
        assert_eq!((good, refused), (1, 7), "{answers:?}");
        passed += 1;
    }
    assert_eq!(world.reached(), passed);
    assert!(world.every_worker_has_answered().await);
    world.deployment.service.serve().await.unwrap();
    let rogue = world.rogue("replay").await;
    assert_eq!(rogue["agent"], "batch");
}

#[tokio::test]
async fn a_guard_that_was_restarted_does_not_accept_what_it_may_have_forgotten() {
    let mut world = World::start("guard-restart", 1, &LOCAL).await;
    let body = reconcile();
    let (used, unused) = (world.minted(&body).await, world.minted(&body).await);
    assert_eq!(world.past_with(&used, &body).await, 200);
    world.restart_guard().await;
    for token in [used, unused] {
        let (status, answer) = world.past(&format!("Bearer {token}"), &body).await;
        assert_eq!(status, 503, "{answer}");
        let told = answer["error"]["message"].as_str().unwrap();
        assert!(told.contains("just started"), "{told}");
    }
    until("a token from after the start", PATIENCE, async || {
        let token = world.minted(&body).await;
        (world.past_with(&token, &body).await == 200).then_some(())
    })
    .await
    .unwrap();
    assert_eq!(world.reached(), 2);
}

#[tokio::test]
async fn jwt_authn_may_check_the_signature_and_without_its_word_nothing_gets_in() {
    let trusting = "\"single_use\": \"global\", \"signature\": \"jwt_authn\", \"jwt_authn\": { \"payload_in_metadata\": \"writ\" }";
    let mut world = World::start(
        "guard-jwt-authn",
        1,
        &[("\"single_use\": \"global\"", trusting)],
    )
    .await;
    // Nobody has checked the signature here yet.
    let body = reconcile();
    let token = world.minted(&body).await;
    assert_eq!(world.past_with(&token, &body).await, 401, "fails closed");

    let document = std::fs::read_to_string(workspace().join("docs/guard.md")).unwrap();
    let block = |info: &str, indent: &str| -> String {
        let (_, rest) = document.split_once(&format!("```yaml {info}\n")).unwrap();
        let (block, _) = rest.split_once("```").unwrap();
        block
            .lines()
            .map(|line| format!("{indent}{line}\n"))
            .collect()
    };
    let issuer = world.deployment.service.issuer();
    let port = issuer.rsplit(':').next().unwrap().to_owned();
    let filter = "                  - name: writ\n";
    let jwt_authn = block("jwt_authn", "                  ");
    world.options.yaml.extend([
        (filter.to_owned(), format!("{jwt_authn}{filter}")),
        (
            "  clusters:\n".to_owned(),
            format!("  clusters:\n{}", block("issuer", "    ")),
        ),
        ("8181".to_owned(), port),
    ]);
    world.restart_guard().await;
    let rogues = world.rogues().len();
    until("jwt_authn to have the keys", PATIENCE, async || {
        (world.past_with(&world.minted(&body).await, &body).await == 200).then_some(())
    })
    .await
    .unwrap();
    let reached = world.reached();
    let good = world.minted(&body).await;
    let (signed, _) = good.rsplit_once('.').unwrap();
    let forged = format!("{signed}.{}", "A".repeat(86));
    assert_eq!(world.past_with(&forged, &body).await, 401);
    assert_eq!(
        world.past_with(&good, "{}").await,
        403,
        "all else is checked here"
    );
    let url = format!("{}?access_token={good}", world.guard.url("/mcp"));
    let elsewhere = send(url, format!("Bearer {forged}"), body.clone()).await;
    assert_eq!(elsewhere.0, 401, "what verifies is another token");
    assert_eq!(world.reached(), reached);
    assert_eq!(world.past_with(&good, &body).await, 200);
    assert_eq!(world.past_with(&good, &body).await, 403);
    let own = world.deployment.batch_token().await.unwrap();
    assert_eq!(world.past_with(&own, &body).await, 401);
    world.rogue("caller_token").await;
    assert!(world.rogues().len() > rogues);
}

#[tokio::test]
async fn nobody_who_is_stopped_gets_past_a_guard_that_asks_nobody() {
    let world = World::start("guard-stopped", 2, &LOCAL).await;
    let mut list = call_message("", &json!({}));
    list["method"] = json!("tools/list");
    let params = list["params"].as_object_mut().unwrap();
    params.retain(|name, _| name == "_meta");
    let list = list.to_string();
    let look_around = async |token: &str| {
        let request = Client::new().post(world.guard.url("/mcp"));
        let request = request
            .bearer_auth(token)
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "application/json")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/list");
        let answer = request.body(list.clone()).send().await.unwrap();
        answer.status().as_u16()
    };
    let service = &world.deployment.service;
    for (off, on) in [
        (&["lockdown"][..], &["lockdown", "--off"][..]),
        (&["revoke", "--subject", "batch"], &[]),
    ] {
        // It is good for looking around until it expires.
        let discovery = world.minted(&list).await;
        until("all to go on", PATIENCE, async || {
            (look_around(&discovery).await == 200).then_some(())
        })
        .await
        .unwrap();
        service.cli(off).unwrap();
        let start = std::time::Instant::now();
        until("both workers to have heard of it", PATIENCE, async || {
            for _ in 0..8 {
                if look_around(&discovery).await != 401 {
                    return None;
                }
            }
            Some(())
        })
        .await
        .unwrap();
        println!(
            "writ {}: refused by the guard's workers after {:.0} ms",
            off.join(" "),
            start.elapsed().as_secs_f64() * 1e3
        );
        if !on.is_empty() {
            world.rogue("disabled").await;
            service.cli(on).unwrap();
        }
    }
    world.rogue("revoked").await;
}
