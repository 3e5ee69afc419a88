//! AuthZEN 1.0: other enforcement points ask what the policy says.

use jiff::Timestamp;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use writ_policy::stops::Lockdown;
use writ_token_service::{
    audit::{Kind, Verdict},
    clock::{SystemClock, unix},
    config::Config,
    registry::{Agent, AuthMethod, Status},
    secret::SecretHash,
    store::{registrations::Registered, stops::Revocation, tasks, users},
    task::Task,
};

use crate::harness::{AUDIENCE, GUARD, OTHER_RESOURCE, RESOURCE, Service};

/// The secret of the agent that has one.
const ROBOT: &str = "a secret of a robot, 32 bytes long";

/// Says what it sees, as the reason of its answer.
const MIRROR: &str = r#"package writ

call := {"allow": true, "reason": json.marshal(object.remove(input.subject, ["issuer"]))} if input.mcp.tool == "subject"

call := {"allow": true, "reason": json.marshal({"agent": input.agent, "server": input.server.labels})} if input.mcp.tool == "agent"

call := {"allow": true, "reason": json.marshal([input.mcp.method, input.mcp.arguments, input.mcp.version, input.request.source_ip, input.request.headers, input.request.id])} if input.mcp.tool == "message"

call := {"allow": true, "reason": json.marshal([input.mcp.method, input.mcp.resource_uri, input.mcp.prompt, input.mcp.task_id])} if input.mcp.tool == null
"#;

struct Stage(Service);

impl Stage {
    async fn new() -> Self {
        Self::with(None).await
    }

    async fn with(policy: Option<&str>) -> Self {
        let service = Service::start_with(|config| {
            if let (Some(text), Some(dir)) = (policy, &config.policy_dir) {
                std::fs::write(dir.join("test.rego"), text).unwrap();
            }
        })
        .await;
        let mut tx = service.store().write().await.unwrap();
        for (name, groups) in [("alice", r#"["finance"]"#), ("alice@example.com", "[]")] {
            sqlx::query("INSERT INTO users (name, password_hash, groups, status, created_at) VALUES ($1, 'no password', $2, 'approved', '')")
                .bind(name)
                .bind(groups)
                .execute(tx.conn())
                .await
                .unwrap();
        }
        tx.commit().await.unwrap();
        let robot = Agent {
            secret: Some(SecretHash::of(ROBOT)),
            labels: [("team".to_owned(), "ops".to_owned())].into(),
            tools: [("ledger".to_owned(), vec!["echo".to_owned()])].into(),
            ..Agent::new("robot".parse().unwrap(), "Robot", AuthMethod::Secret)
        };
        service
            .store()
            .add_agent(&robot, Timestamp::now())
            .await
            .unwrap();
        Self(service)
    }

    /// As the server that is asked about.
    async fn ask(&self, path: &str, body: &Value) -> Response {
        self.ask_as(("ledger", &self.0.server_secret), path, body)
            .await
    }

    async fn ask_as(&self, (id, secret): (&str, &str), path: &str, body: &Value) -> Response {
        let request = self.0.http.post(self.0.public_url(path));
        let request = request.basic_auth(id, Some(secret)).json(body);
        request.send().await.unwrap()
    }

    /// As a gateway or guard.
    async fn ask_behind(&self, (id, secret): (&str, &str), body: &Value) -> Value {
        let request = self
            .0
            .http
            .post(self.0.gateway_url("/access/v1/evaluation"));
        let request = request.basic_auth(id, Some(secret)).json(body);
        answer(request.send().await.unwrap()).await
    }

    async fn evaluate(&self, body: &Value) -> Value {
        answer(self.ask("/access/v1/evaluation", body).await).await
    }

    async fn evaluate_all(&self, body: &Value) -> Value {
        answer(self.ask("/access/v1/evaluations", body).await).await
    }
}

async fn answer(response: Response) -> Value {
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.headers()["cache-control"], "no-store");
    let answer: Value = response.json().await.unwrap();
    for decision in answer["evaluations"]
        .as_array()
        .unwrap_or(&vec![answer.clone()])
    {
        assert!(decision["decision"].is_boolean(), "{answer}");
    }
    answer
}

/// Alice, by the assistant, wants to call a tool.
fn call(tool: &str) -> Value {
    json!({
        "subject": {"type": "user", "id": "alice"},
        "action": {"name": "tools/call", "properties": {"arguments": {"text": "hi"}}},
        "resource": {"type": "tool", "id": tool},
        "context": {"agent": "assistant", "source_ip": "192.0.2.7"},
    })
}

/// What the mirror saw.
fn seen(answer: &Value) -> Value {
    let reason = answer["context"]["reason_admin"]["200"].as_str();
    serde_json::from_str(reason.unwrap_or_else(|| panic!("{answer}"))).unwrap()
}

fn reason(answer: &Value) -> &str {
    assert_eq!(answer["decision"], false, "{answer}");
    answer["context"]["reason_user"]["403"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_is_on_record_before_it_is_told() {
    let stage = Stage::new().await;
    assert_eq!(
        stage.evaluate(&call("echo")).await,
        json!({"decision": true, "context": {"reason_admin": {"200": "echo is for everybody"}}})
    );
    let denied = stage.evaluate(&call("transfer")).await;
    assert_eq!(reason(&denied), "only echo is allowed");

    let records = stage.0.records().await;
    let [allowed, refused] = records.as_slice() else {
        panic!("{records:?}")
    };
    assert_eq!(
        (allowed.kind, allowed.decision, refused.decision),
        (Kind::Evaluation, Some(Verdict::Allow), Some(Verdict::Deny))
    );
    assert_eq!(refused.gateway.as_deref(), Some("server:ledger"));
    assert_eq!(refused.server.as_deref(), Some("ledger"));
    assert_eq!(refused.subject.as_deref(), Some("alice"));
    assert_eq!(refused.agent.as_deref(), Some("assistant"));
    assert_eq!(refused.method.as_deref(), Some("tools/call"));
    assert_eq!(refused.target.as_deref(), Some("transfer"));
    assert_eq!(refused.reason.as_deref(), Some("only echo is allowed"));
    assert_eq!(refused.source_ip.as_deref(), Some("192.0.2.7"));
    assert_eq!(refused.detail, Some(json!({"cause": "policy"})));
    assert_eq!(refused.token_id, None);
    let policy = stage.0.running.app.policy();
    assert_eq!(refused.service_policy.as_deref(), Some(policy.revision()));
    assert_eq!(
        denied["context"]["reason_admin"]["403"],
        format!(
            "cause: policy; policy: {}; audit record: {}",
            policy.revision(),
            refused.id
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_that_are_wanting_and_obligations_are_in_the_context() {
    let stage = Stage::new().await;
    let denied = stage.evaluate(&call("personal")).await;
    assert_eq!(reason(&denied), "personal data");
    assert_eq!(denied["context"]["scope"], "ledger:read ledger:personal");
    let brief = stage.evaluate(&call("brief")).await;
    assert_eq!(
        brief,
        json!({"decision": true, "context": {"obligations": {"ttl_s": 5, "scopes": ["ledger:read", "never:had"]}}})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_asks_without_proving_who_they_are() {
    let stage = Stage::new().await;
    let service = &stage.0;
    let public = service.public_url("/access/v1/evaluation");
    let at_gateways = service.gateway_url("/access/v1/evaluation");
    for (url, credentials) in [
        (&public, None),
        (&public, Some(("ledger", "wrong"))),
        (&public, Some(("robot", "wrong"))),
        (&public, Some(("assistant", ""))),
        (&public, Some(("ledger", service.other_secret.as_str()))),
        (&public, Some(("edge", service.gateway_secret.as_str()))),
        (&at_gateways, None),
        (&at_gateways, Some(("edge", service.core_secret.as_str()))),
        (&at_gateways, Some(("robot", ROBOT))),
    ] {
        let request = service.http.post(url).json(&call("echo"));
        let request = request.header("x-request-id", "mine");
        let request = match credentials {
            Some((id, secret)) => request.basic_auth(id, Some(secret)),
            None => request,
        };
        let response = request.send().await.unwrap();
        assert_eq!(
            response.status(),
            StatusCode::UNAUTHORIZED,
            "{credentials:?}"
        );
        let challenge = response.headers()["www-authenticate"].to_str().unwrap();
        assert!(challenge.starts_with("Basic "));
        assert_eq!(response.headers()["x-request-id"], "mine");
        let told: String = response.json().await.unwrap();
        assert!(told.contains("HTTP Basic"), "{told}");
    }
    // Nothing was decided; tries are counted, as everywhere.
    let records = service.records().await;
    assert!(
        records.iter().all(|r| r.kind == Kind::Unauthenticated),
        "{records:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_asks_about_its_own_business_only() {
    let stage = Stage::new().await;
    let service = &stage.0;
    let at = |server: &str| {
        let mut body = call("echo");
        body["resource"]["properties"] = json!({"server": server});
        body
    };
    let edge = ("edge", service.gateway_secret.as_str());
    let guard = (GUARD, service.guard_secret.as_str());
    for asker in [edge, guard, ("ledger", service.server_secret.as_str())] {
        // By its id, its resource identifier, or not at all where there is only one.
        for body in [at("ledger"), at(RESOURCE), call("echo")] {
            let answer = stage.ask_behind(asker, &body).await;
            assert_eq!(answer["decision"], true, "{asker:?} {answer}");
        }
        for body in [at("other"), at(OTHER_RESOURCE), at("nothing"), at(AUDIENCE)] {
            let answer = stage.ask_behind(asker, &body).await;
            assert_eq!(reason(&answer), "who asks has no server of that name");
        }
    }
    let own = |subject: Value, agent: Value| {
        let mut body = at("ledger");
        body["subject"] = subject;
        body["context"] = json!({"agent": agent});
        body
    };
    let robot = json!({"type": "workload", "id": "robot"});
    let by_robot = async |body: &Value| {
        answer(
            stage
                .ask_as(("robot", ROBOT), "/access/v1/evaluation", body)
                .await,
        )
        .await
    };
    let itself = by_robot(&own(robot.clone(), json!("robot"))).await;
    assert_eq!(itself["decision"], true, "{itself}");
    for body in [
        own(robot, json!("assistant")),
        own(json!({"type": "user", "id": "alice"}), json!("robot")),
        own(json!({"type": "workload", "id": "helper"}), json!("helper")),
        own(json!({"type": "user", "id": "robot"}), json!("robot")),
    ] {
        let answer = by_robot(&body).await;
        assert!(reason(&answer).contains("about itself only"), "{answer}");
    }
    // An agent names the server.
    let mut nowhere = call("echo");
    nowhere["subject"] = json!({"type": "workload", "id": "robot"});
    assert!(reason(&by_robot(&nowhere).await).contains("resource.properties.server"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_it_is_says_the_registry_and_what_they_do_the_request() {
    let stage = Stage::with(Some(MIRROR)).await;
    let mut body = call("subject");
    body["subject"]["properties"] = json!({
        "scope": "ledger:read ledger:write", "department": "Sales", "iat": 1_790_000_000, "jti": "t-1",
        "groups": ["admins"], "sub": "mallory", "client_id": "other",
    });
    assert_eq!(
        seen(&stage.evaluate(&body).await),
        json!({
            "id": "alice", "type": "user", "groups": ["finance"], "scopes": ["ledger:read", "ledger:write"],
            "claims": {"department": "Sales"},
        })
    );
    let mut body = call("agent");
    body["context"]["agent"] =
        json!({"id": "robot", "status": "disabled", "labels": {"team": "security"}});
    assert_eq!(
        seen(&stage.evaluate(&body).await),
        json!({
            "agent": {"id": "robot", "kind": "delegated", "authn": "secret", "status": "approved", "labels": {"team": "ops"}, "tools": ["echo"]},
            "server": {"owner": "finance"},
        })
    );
    body["subject"] = json!({"type": "workload", "id": "robot"});
    body["context"] = json!({});
    let autonomous = seen(&stage.evaluate(&body).await);
    assert_eq!(
        (&autonomous["agent"]["id"], &autonomous["agent"]["kind"]),
        (&json!("robot"), &json!("autonomous"))
    );

    let mut body = call("message");
    body["context"]["protocol_version"] = "2025-11-25".into();
    body["context"]["time"] = "1985-10-26T01:22-07:00".into();
    body["context"]["headers"] = json!({"X-Ticket": "CHG-1", "n": 7});
    let request = stage
        .0
        .http
        .post(stage.0.public_url("/access/v1/evaluation"));
    let request = request.basic_auth("ledger", Some(&stage.0.server_secret));
    let request = request.header("x-request-id", "bfe9eb29").json(&body);
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["x-request-id"], "bfe9eb29");
    assert_eq!(
        seen(&answer(response).await),
        json!(["tools/call", {"text": "hi"}, "2025-11-25", "192.0.2.7", {"x-ticket": "CHG-1"}, "bfe9eb29"])
    );
    let records = stage.0.records().await;
    assert_eq!(
        records.last().unwrap().request_id.as_deref(),
        Some("bfe9eb29")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_mappings_of_the_mcp_profile_are_understood() {
    // COAZ-MCP (draft of July 2026), "Default Mappings": subjects are of the type identity, servers of mcp_server.
    let stage = Stage::with(Some(MIRROR)).await;
    let about = |method: &str, kind: &str, id: &str| {
        json!({
            "subject": {"type": "identity", "id": "alice"},
            "context": {"agent": "assistant"},
            "action": {"name": method},
            "resource": {"type": kind, "id": id},
        })
    };
    for (method, kind, id, sees) in [
        (
            "initialize",
            "mcp_server",
            RESOURCE,
            json!([null, null, null]),
        ),
        (
            "tools/list",
            "mcp_server",
            "ledger",
            json!([null, null, null]),
        ),
        (
            "logging/setLevel",
            "mcp_server",
            RESOURCE,
            json!([null, null, null]),
        ),
        ("stream/open", "server", "ledger", json!([null, null, null])),
        (
            "notifications/initialized",
            "server",
            "ledger",
            json!([null, null, null]),
        ),
        (
            "resources/read",
            "resource",
            "file:///a",
            json!(["file:///a", null, null]),
        ),
        (
            "prompts/get",
            "prompt",
            "greet",
            json!([null, "greet", null]),
        ),
        ("tasks/get", "task", "7", json!([null, null, "7"])),
    ] {
        let answer = stage.evaluate(&about(method, kind, id)).await;
        let mut expected = sees;
        expected.as_array_mut().unwrap().insert(0, json!(method));
        assert_eq!(seen(&answer), expected, "{method}");
    }
    // A tool by its name alone.
    let mut body = about("message", "server", "ledger");
    body["action"]["properties"] = json!({"arguments": {"a": 1}});
    let sees = seen(&stage.evaluate(&body).await);
    assert_eq!(
        (&sees[0], &sees[1]),
        (&json!("tools/call"), &json!({"a": 1}))
    );

    for (method, kind, id, told) in [
        ("tools/call", "prompt", "echo", "no action on a resource"),
        ("prompts/get", "tool", "echo", "no action on a resource"),
        ("tools/list", "tool", "echo", "no action on a resource"),
        ("tools/call", "server", "ledger", "params.name"),
        ("tools/Call", "tool", "echo", "no action on a resource"),
        ("acme/report", "server", "ledger", "no method of MCP"),
        (
            "sampling/createMessage",
            "server",
            "ledger",
            "no method of MCP",
        ),
        ("response/roots/list", "server", "ledger", "no such message"),
        (
            "tools/call",
            "customer",
            "cust-12345",
            "no resource is of the type",
        ),
    ] {
        let answer = stage.evaluate(&about(method, kind, id)).await;
        assert!(reason(&answer).contains(told), "{method} {kind}: {answer}");
    }
    let mut two = about("tools/call", "tool", "echo");
    two["action"]["properties"] = json!({"name": "transfer"});
    assert!(reason(&stage.evaluate(&two).await).contains("something else"));
    let mut two = about("tools/list", "server", "ledger");
    two["resource"]["properties"] = json!({"server": "other"});
    assert!(reason(&stage.evaluate(&two).await).contains("not the same server"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_the_standard_are_answered() {
    // Authorization API 1.0, section 6.1: an account of a bank is nothing that Writ knows, and denied.
    let stage = Stage::new().await;
    let example = json!({
        "subject": {"type": "user", "id": "alice@example.com"},
        "resource": {"type": "account", "id": "123"},
        "action": {"name": "can_read", "properties": {"method": "GET"}},
        "context": {"time": "1985-10-26T01:22-07:00"},
    });
    let denied = stage.evaluate(&example).await;
    assert_eq!(
        reason(&denied),
        "context.agent must name the agent, by its client_id"
    );
    // Without `evaluations`, or with none, it is one request (section 7.1).
    assert_eq!(stage.evaluate_all(&example).await["decision"], false);
    let mut none = example.clone();
    none["evaluations"] = json!([]);
    assert_eq!(stage.evaluate_all(&none).await["decision"], false);
    let mut at_agent = example;
    at_agent["context"]["agent"] = "assistant".into();
    assert!(reason(&stage.evaluate(&at_agent).await).contains("account"));

    // Section 7.1.1: three requests of one subject, with a default for the action that the third has of its own.
    let defaults = json!({
        "subject": {"type": "user", "id": "alice@example.com"},
        "context": {"time": "2024-05-31T15:22-07:00", "agent": "assistant"},
        "action": {"name": "tools/call"},
        "evaluations": [
            {"resource": {"type": "tool", "id": "echo"}},
            {"resource": {"type": "tool", "id": "transfer"}},
            {"action": {"name": "initialize"}, "resource": {"type": "server", "id": "ledger"}},
        ],
    });
    let answer = stage.evaluate_all(&defaults).await;
    assert_eq!(answer.get("decision"), None);
    assert_eq!(decisions(&answer), [true, false, true]);

    // Section 7.1.2.1, with the decisions of its example: yes, no, yes.
    for (semantic, expected) in [
        ("execute_all", &[true, false, true][..]),
        ("deny_on_first_deny", &[true, false]),
        ("permit_on_first_permit", &[true]),
    ] {
        let mut body = defaults.clone();
        body["options"] = json!({"evaluations_semantic": semantic, "another_option": "value"});
        assert_eq!(decisions(&stage.evaluate_all(&body).await), expected);
    }
    let records = stage.0.records().await;
    assert_eq!(records.len(), 4 + 3 + 3 + 2 + 1);
}

fn decisions(answer: &Value) -> Vec<bool> {
    let all = answer["evaluations"].as_array().unwrap();
    all.iter().map(|one| one["decision"] == true).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_is_refused_and_nothing_decided() {
    let stage = Stage::new().await;
    let without = |path: &str| {
        let mut body = call("echo");
        let (object, member) = path.rsplit_once('/').unwrap();
        let object = body.pointer_mut(object).unwrap().as_object_mut().unwrap();
        object.remove(member).unwrap();
        body
    };
    let with = |path: &str, value: Value| {
        let mut body = call("echo");
        *body.pointer_mut(path).unwrap() = value;
        body
    };
    let many = |count: usize| json!({"evaluations": vec![call("echo"); count]});
    let bad = [
        (without("/subject"), "subject is missing"),
        (without("/action"), "action is missing"),
        (without("/resource"), "resource is missing"),
        (without("/subject/type"), "subject.type"),
        (without("/subject/id"), "subject.id"),
        (without("/resource/id"), "resource.id"),
        (without("/action/name"), "action.name"),
        (with("/subject/id", json!(7)), "subject.id"),
        (with("/subject/id", json!("")), "subject.id"),
        (with("/resource/id", "x".repeat(1025).into()), "resource.id"),
        (with("/action/properties", json!([])), "action.properties"),
        (with("/context", json!("now")), "context"),
        (json!([call("echo")]), "no JSON object"),
    ];
    for (body, told) in bad {
        refused(stage.ask("/access/v1/evaluation", &body).await, told).await;
    }
    let mut twice = many(1);
    twice["evaluations"][0]
        .as_object_mut()
        .unwrap()
        .remove("action");
    for (body, told) in [
        (twice, "evaluations[0].action is missing"),
        (
            json!({"evaluations": [1]}),
            "evaluations[0] must be an object",
        ),
        (json!({"evaluations": {}}), "evaluations must be an array"),
        (many(51), "at most 50"),
        (
            json!({"evaluations": [call("echo")], "options": []}),
            "options",
        ),
        (
            json!({"evaluations": [call("echo")], "options": {"evaluations_semantic": "any"}}),
            "execute_all",
        ),
        (
            json!({"evaluations": [call("echo")], "options": {"evaluations_semantic": 1}}),
            "execute_all",
        ),
    ] {
        refused(stage.ask("/access/v1/evaluations", &body).await, told).await;
    }
    let raw = async |kind: &str, body: String| {
        let request = stage
            .0
            .http
            .post(stage.0.public_url("/access/v1/evaluation"));
        let request = request.basic_auth("ledger", Some(&stage.0.server_secret));
        let request = request.header("content-type", kind).body(body);
        request.send().await.unwrap()
    };
    let good = call("echo").to_string();
    refused(raw("text/plain", good.clone()).await, "application/json").await;
    refused(
        raw(
            "application/json",
            good.replace("{\"text\"", "{\"text\":1,\"text\""),
        )
        .await,
        "twice",
    )
    .await;
    refused(
        raw("application/json", "{".to_owned()).await,
        "no JSON object",
    )
    .await;
    let large = format!("{good}{}", " ".repeat(256 * 1024));
    assert_eq!(
        raw("application/json", large).await.status(),
        StatusCode::PAYLOAD_TOO_LARGE
    );
    assert!(stage.0.records().await.is_empty());
    let most = stage.ask("/access/v1/evaluations", &many(50)).await;
    assert_eq!(decisions(&answer(most).await), [true; 50]);
    assert_eq!(stage.0.records().await.len(), 50);
    let get = stage
        .0
        .http
        .get(stage.0.public_url("/access/v1/evaluation"));
    let get = get.basic_auth("ledger", Some(&stage.0.server_secret));
    assert_eq!(
        get.send().await.unwrap().status(),
        StatusCode::METHOD_NOT_ALLOWED
    );
}

async fn refused(response: Response, told: &str) {
    assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{told}");
    let said: String = response.json().await.unwrap();
    assert!(said.contains(told), "{said}: {told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_administrator_has_stopped_is_denied_at_once() {
    let stage = Stage::new().await;
    let (service, now) = (&stage.0, Timestamp::now());
    let elsewhere = service.elsewhere().await;
    let denied = async |told: &str| {
        let answer = stage.evaluate(&call("echo")).await;
        assert!(reason(&answer).contains(told), "{answer}");
    };
    let allowed = async || assert_eq!(stage.evaluate(&call("echo")).await["decision"], true);

    let user = async |active| {
        let mut tx = elsewhere.write().await.unwrap();
        users::set_active(tx.conn(), "alice", active, now)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    };
    user(false).await;
    denied("the subject is disabled").await;
    user(true).await;
    allowed().await;

    let set = async |what: Registered, id: &str, status: Status| {
        elsewhere
            .set_status(what, id, status, None, now)
            .await
            .unwrap();
    };
    set(Registered::Agent, "assistant", Status::Disabled).await;
    denied("the agent is disabled or not registered").await;
    set(Registered::Agent, "assistant", Status::Approved).await;
    allowed().await;
    set(Registered::Server, "ledger", Status::Disabled).await;
    let edge = ("edge", service.gateway_secret.as_str());
    let answer = stage.ask_behind(edge, &call("echo")).await;
    assert_eq!(reason(&answer), "the server is disabled");
    let itself = stage.ask("/access/v1/evaluation", &call("echo")).await;
    assert_eq!(itself.status(), StatusCode::UNAUTHORIZED);
    set(Registered::Server, "ledger", Status::Approved).await;
    allowed().await;

    let list = |agent: &str| Lockdown {
        agents: [agent.to_owned()].into(),
        ..Lockdown::default()
    };
    elsewhere
        .lock_down(Some(&list("helper")), None, now)
        .await
        .unwrap();
    denied("an administrator has stopped all calls").await;
    elsewhere
        .lock_down(Some(&list("assistant")), None, now)
        .await
        .unwrap();
    allowed().await;
    elsewhere.lock_down(None, None, now).await.unwrap();

    let revocation = Revocation::Subject("alice".to_owned());
    elsewhere
        .revoke(&revocation, None, &SystemClock)
        .await
        .unwrap();
    denied("has been revoked, or may have been").await;
    let issued = async |at: u64| {
        let mut body = call("echo");
        body["subject"]["properties"] = json!({"iat": at});
        stage.evaluate(&body).await["decision"] == true
    };
    assert!(!issued(unix(now) - 60).await);
    assert!(issued(unix(Timestamp::now()) + 60).await);

    for (body, told) in [
        (
            json!({"type": "user", "id": "nobody"}),
            "no user of this name",
        ),
        (
            json!({"type": "workload", "id": "nobody"}),
            "no agent that is registered",
        ),
        (
            json!({"type": "group", "id": "finance"}),
            "no subject is of the type",
        ),
    ] {
        let mut asked = call("echo");
        asked["subject"] = body.clone();
        asked["context"]["agent"] = "helper".into();
        let answer = stage.evaluate(&asked).await;
        assert!(reason(&answer).contains(told), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_within_a_task_is_confined_to_it_and_not_counted() {
    let stage = Stage::new().await;
    let now = Timestamp::now();
    let task = Task {
        id: writ_token_service::secret::new_id(),
        txn: "x".to_owned(),
        subject: "alice".to_owned(),
        agent: "assistant".to_owned(),
        purpose: "month's end".to_owned(),
        tools: [("ledger".to_owned(), vec!["limited".to_owned()])].into(),
        max_calls: Some(1),
        calls: 0,
        opened: now,
        expires: now + jiff::SignedDuration::from_secs(60),
        closed: None,
    };
    let mut tx = stage.0.store().write().await.unwrap();
    tasks::add(tx.conn(), &task).await.unwrap();
    tx.commit().await.unwrap();
    let within = |tool: &str, task: &str| {
        let mut body = call(tool);
        body["context"]["task"] = task.into();
        body
    };
    for _ in 0..3 {
        let answer = stage.evaluate(&within("limited", &task.id)).await;
        assert_eq!(answer["context"]["reason_admin"]["200"], "month's end");
    }
    assert!(
        reason(&stage.evaluate(&within("echo", &task.id)).await).contains("does not name echo")
    );
    assert!(reason(&stage.evaluate(&within("limited", "made up")).await).contains("no task"));
    let mut others = within("limited", &task.id);
    others["context"]["agent"] = "helper".into();
    assert!(reason(&stage.evaluate(&others).await).contains("no task"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_says_where_to_ask() {
    let service = Service::start().await;
    let url = service.public_url("/.well-known/authzen-configuration");
    let response = service.http.get(url).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "application/json");
    let issuer = service.running.app.config.issuer.clone();
    assert_eq!(
        response.json::<Value>().await.unwrap(),
        json!({
            "policy_decision_point": issuer,
            "access_evaluation_endpoint": format!("{issuer}/access/v1/evaluation"),
            "access_evaluations_endpoint": format!("{issuer}/access/v1/evaluations"),
        })
    );

    let below = Service::start_with(|config| {
        let issuer = (
            "WRIT_ISSUER".to_owned(),
            "https://writ.test/tenant1".to_owned(),
        );
        let mut named = Config::load(None, [issuer]).unwrap();
        named.data_dir.clone_from(&config.data_dir);
        named.public = config.public;
        named.gateway = config.gateway.clone();
        *config = named;
    })
    .await;
    let url = below.public_url("/.well-known/authzen-configuration/tenant1");
    let told: Value = below
        .http
        .get(url)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(told["policy_decision_point"], "https://writ.test/tenant1");
    let url = below.public_url("/tenant1/access/v1/evaluation");
    let response = below.http.post(url).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
}
