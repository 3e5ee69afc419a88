//! Exchanges at the public endpoint: servers that call the next server, and agents that act for others.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use writ_token_service::{
    audit::{Finding, Kind, Verdict},
    oauth::password::PasswordHash,
    registry::{Agent, AuthMethod, Grant, Status},
    secret::SecretHash,
    store::{oauth, registrations::Registered, users},
};

use crate::follower::Follower;
use crate::harness::{
    AUDIENCE, Form, OTHER_AUDIENCE, OTHER_RESOURCE, RESOURCE, Service, call, refusal,
};

const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// A service whose directory knows alice.
async fn service() -> Service {
    let service = Service::start().await;
    add_user(&service, "alice", "treasury").await;
    service
}

async fn add_user(service: &Service, name: &str, group: &str) {
    let mut tx = service.store().write().await.unwrap();
    let password = PasswordHash::new("correct horse battery staple").unwrap();
    let groups = [group.to_owned()].into();
    users::add(
        tx.conn(),
        &name.parse().unwrap(),
        &password,
        &groups,
        Timestamp::now(),
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
}

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

async fn token(response: Response) -> String {
    assert_eq!(
        response.status(),
        StatusCode::OK,
        "{:?}",
        response.text().await
    );
    let answer: Value = response.json().await.unwrap();
    answer["access_token"].as_str().unwrap().to_owned()
}

fn form(subject_token: &str, resource: &str) -> Vec<(&'static str, String)> {
    vec![
        ("grant_type", TOKEN_EXCHANGE.to_owned()),
        ("subject_token", subject_token.to_owned()),
        ("subject_token_type", ACCESS_TOKEN.to_owned()),
        ("resource", resource.to_owned()),
    ]
}

async fn ask(
    service: &Service,
    id: &str,
    secret: &str,
    form: &[(&'static str, String)],
) -> Response {
    let request = service.http.post(service.public_url("/oauth/token"));
    request
        .basic_auth(id, Some(secret))
        .form(form)
        .send()
        .await
        .unwrap()
}

/// One of the two servers, with its gateway before it and the other server behind.
#[derive(Clone, Copy)]
enum At {
    Ledger,
    Other,
}

impl At {
    fn next(self) -> Self {
        match self {
            Self::Ledger => Self::Other,
            Self::Other => Self::Ledger,
        }
    }

    fn id(self) -> &'static str {
        match self {
            Self::Ledger => "ledger",
            Self::Other => "other",
        }
    }

    fn resource(self) -> &'static str {
        match self {
            Self::Ledger => RESOURCE,
            Self::Other => OTHER_RESOURCE,
        }
    }

    /// The server asks for a token for the other.
    async fn onward(self, service: &Service, minted: &str) -> Response {
        let secret = match self {
            Self::Ledger => &service.server_secret,
            Self::Other => &service.other_secret,
        };
        let form = form(minted, self.next().resource());
        ask(service, self.id(), secret, &form).await
    }

    /// The gateway exchanges a caller's token for a call of echo.
    async fn gateway(self, service: &Service, caller: &str) -> Response {
        let (gateway, secret) = match self {
            Self::Ledger => ("edge", &service.gateway_secret),
            Self::Other => ("core", &service.core_secret),
        };
        let form = Form::new(caller, &call("echo")).with("resource", self.resource());
        let form = Form(
            form.0
                .into_iter()
                .map(|(name, value)| match name {
                    "authorization_details" => (
                        name,
                        value.replace("\"ledger\"", &format!("{:?}", self.id())),
                    ),
                    _ => (name, value),
                })
                .collect(),
        );
        let request = service.http.post(service.gateway_url("/oauth/token"));
        request
            .basic_auth(gateway, Some(secret))
            .form(&form.0)
            .send()
            .await
            .unwrap()
    }
}

async fn minted(service: &Service) -> String {
    service.mint(&call("echo")).await.0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_calls_the_next_one_and_the_chain_shows_it() {
    let service = service().await;
    let first = minted(&service).await;
    assert_eq!(claims(&first)["may_act"], json!({"sub": "ledger"}));
    // Spent, as a server that introspects has it.
    let spent = service
        .introspect(&[("token", &first), ("consume", "true")])
        .await;
    assert_eq!(spent["active"], true);

    let caller = token(At::Ledger.onward(&service, &first).await).await;
    let said = claims(&caller);
    assert_eq!(
        (&said["sub"], &said["client_id"], &said["aud"]),
        (&json!("alice"), &json!("assistant"), &json!(OTHER_RESOURCE))
    );
    assert_eq!(
        said["act"],
        json!({"sub": "ledger", "act": {"sub": "edge", "act": {"sub": "assistant"}}})
    );
    assert_eq!(said["txn"], claims(&first)["txn"]);
    // As the directory has them, not as the first token had them.
    assert_eq!(said["groups"], json!(["treasury"]));
    assert!(said["exp"].as_u64().unwrap() - said["iat"].as_u64().unwrap() <= 60);

    let second = claims(&token(At::Other.gateway(&service, &caller).await).await);
    assert_eq!(second["aud"], OTHER_AUDIENCE);
    assert_eq!(second["txn"], claims(&first)["txn"]);
    assert_eq!(
        second["act"],
        json!({"sub": "core", "act": {"sub": "ledger", "act": {"sub": "edge", "act": {"sub": "assistant"}}}})
    );
    let records = service.records().await;
    let issued = records
        .iter()
        .find(|r| r.kind == Kind::TokenIssued)
        .unwrap();
    assert_eq!(
        issued.subject_token_id.as_deref(),
        claims(&first)["jti"].as_str()
    );
    assert_eq!(issued.txn.as_deref(), claims(&first)["txn"].as_str());
    assert_eq!(issued.detail.as_ref().unwrap()["server"], "ledger");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_ends_at_its_limit_with_a_sentence() {
    let service = service().await;
    let mut at = At::Ledger;
    let mut minted = minted(&service).await;
    for _ in 0..4 {
        let caller = token(at.onward(&service, &minted).await).await;
        at = at.next();
        minted = token(at.gateway(&service, &caller).await).await;
    }
    let response = at.onward(&service, &minted).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let told: Value = response.json().await.unwrap();
    let told = told["error_description"].as_str().unwrap();
    assert!(told.contains("4 servers already"), "{told}");
    let mut depth = 0;
    let mut act = &claims(&minted)["act"];
    while act.is_object() {
        depth += 1;
        act = &act["act"];
    }
    assert_eq!(
        depth, 10,
        "a gateway and a server for each hop, a gateway, the agent"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_exchanges_only_what_was_minted_for_it_and_only_towards_whom_it_may_call() {
    let service = service().await;
    let first = minted(&service).await;
    let (ledger, other) = (&service.server_secret, &service.other_secret);
    let mut changed = claims(&first);
    let mut with = |name: &str, value: Value| {
        let before = std::mem::replace(&mut changed[name], value);
        let token = service.sign(&changed);
        changed[name] = before;
        token
    };
    let nobody = with("may_act", Value::Null);
    let somebody_else = with("may_act", json!({"sub": "other"}));
    let expired = with("exp", 1.into());
    let discovery = service
        .mint(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}))
        .await
        .0;
    let cases = [
        (
            "ledger",
            ledger,
            service.caller_token(),
            OTHER_RESOURCE,
            "invalid_grant",
        ),
        ("other", other, first.clone(), RESOURCE, "invalid_grant"),
        ("ledger", ledger, nobody, OTHER_RESOURCE, "invalid_grant"),
        (
            "ledger",
            ledger,
            somebody_else,
            OTHER_RESOURCE,
            "invalid_grant",
        ),
        ("ledger", ledger, expired, OTHER_RESOURCE, "invalid_grant"),
        ("ledger", ledger, discovery, OTHER_RESOURCE, "invalid_grant"),
        ("ledger", ledger, first.clone(), RESOURCE, "invalid_target"),
        (
            "ledger",
            ledger,
            first.clone(),
            "https://nowhere.test/",
            "invalid_target",
        ),
        (
            "ledger",
            ledger,
            first.clone(),
            OTHER_AUDIENCE,
            "invalid_target",
        ),
    ];
    for (id, secret, token, resource, error) in cases {
        let response = ask(&service, id, secret, &form(&token, resource)).await;
        assert_eq!(
            refusal(response).await,
            (400, error.to_owned()),
            "{resource}"
        );
    }
    let response = ask(&service, "ledger", other, &form(&first, OTHER_RESOURCE)).await;
    assert_eq!(refusal(response).await, (401, "invalid_client".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_access_tokens_are_exchanged_for_access_tokens() {
    let service = service().await;
    let good = form(&minted(&service).await, OTHER_RESOURCE);
    let with = |name: &'static str, value: &str| {
        let mut form = good.clone();
        form.retain(|(n, _)| *n != name);
        form.push((name, value.to_owned()));
        form
    };
    let kind = |word: &str| format!("urn:ietf:params:oauth:token-type:{word}");
    for wrong in [
        with("subject_token_type", &kind("id_token")),
        with("subject_token_type", &kind("refresh_token")),
        with("subject_token_type", &kind("jwt")),
        with("requested_token_type", &kind("refresh_token")),
        with("requested_token_type", &kind("id_token")),
        with("actor_token", "x"),
        with("audience", "urn:x"),
        with("resource", ""),
        with("subject_token", ""),
    ] {
        let response = ask(&service, "ledger", &service.server_secret, &wrong).await;
        assert_eq!(
            refusal(response).await,
            (400, "invalid_request".into()),
            "{wrong:?}"
        );
    }
    let again = ask(&service, "ledger", &service.server_secret, &good).await;
    let answer: Value = again.json().await.unwrap();
    assert_eq!(answer["issued_token_type"], ACCESS_TOKEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_back_anywhere_in_the_chain_ends_it_at_the_next_exchange() {
    let in_an_hour = Timestamp::now()
        .checked_add(SignedDuration::from_hours(1))
        .unwrap();
    // The agent's own token, its grant, the minted token, the token of the server that calls on.
    for link in 0..4 {
        let service = service().await;
        let mut root = service.caller_claims();
        root["grant_id"] = "family".into();
        let root_token = service.sign(&root);
        let first = token(At::Ledger.gateway(&service, &root_token).await).await;
        let caller = token(At::Ledger.onward(&service, &first).await).await;
        let id = |value: &Value| value.as_str().unwrap().to_owned();
        let taken = [
            id(&root["jti"]),
            "family".to_owned(),
            id(&claims(&first)["jti"]),
            id(&claims(&caller)["jti"]),
        ][link]
            .clone();
        let second = token(At::Other.gateway(&service, &caller).await).await;
        let mut tx = service.store().write().await.unwrap();
        oauth::revoke_token(tx.conn(), &taken, Timestamp::now(), in_an_hour)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        for response in [
            At::Other.gateway(&service, &caller).await,
            At::Other.onward(&service, &second).await,
        ] {
            assert_eq!(
                refusal(response).await,
                (400, "invalid_grant".into()),
                "{link}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_switched_off_anywhere_in_the_chain_ends_it_at_the_next_exchange() {
    let service = service().await;
    let first = minted(&service).await;
    let caller = token(At::Ledger.onward(&service, &first).await).await;
    let elsewhere = service.elsewhere().await;
    let now = Timestamp::now();
    for (what, id) in [
        (Registered::Agent, "assistant"),
        (Registered::Gateway, "edge"),
        (Registered::Server, "ledger"),
    ] {
        elsewhere
            .set_status(what, id, Status::Disabled, None, now)
            .await
            .unwrap();
        let response = At::Other.gateway(&service, &caller).await;
        assert_eq!(
            refusal(response).await,
            (400, "invalid_grant".into()),
            "{id}"
        );
        elsewhere
            .set_status(what, id, Status::Approved, None, now)
            .await
            .unwrap();
    }
    let mut tx = elsewhere.write().await.unwrap();
    users::set_active(tx.conn(), "alice", false, now)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    for response in [
        At::Other.gateway(&service, &caller).await,
        At::Ledger.onward(&service, &first).await,
    ] {
        assert_eq!(refusal(response).await, (400, "invalid_grant".into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_the_chain_is_a_rogue_at_a_server_and_good_at_its_gateway_only() {
    let service = service().await;
    let caller = token(At::Ledger.onward(&service, &minted(&service).await).await).await;
    for token in [&caller] {
        let response = service
            .introspect_as("other", &service.other_secret, &[("token", token)])
            .await;
        let answer: Value = response.json().await.unwrap();
        assert_eq!(answer, json!({"active": false}));
    }
    let response = At::Ledger.gateway(&service, &caller).await;
    assert_eq!(refusal(response).await, (400, "invalid_grant".into()));
}

/// A small generator: the same scopes in every run.
struct Dice(u64);

impl Dice {
    fn some<'a>(&mut self, of: &[&'a str]) -> Vec<&'a str> {
        of.iter()
            .copied()
            .filter(|_| {
                self.0 ^= self.0 << 13;
                self.0 ^= self.0 >> 7;
                self.0 ^= self.0 << 17;
                self.0.is_multiple_of(2)
            })
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scope_only_ever_shrinks() {
    let service = service().await;
    let has = ["ledger:read", "ledger:write"];
    let all = ["ledger:read", "ledger:write", "admin", "ledger:rea"];
    let mut dice = Dice(0x5eed);
    for _ in 0..40 {
        let held = dice.some(&all);
        let mut root = service.caller_claims();
        root["scope"] = held.join(" ").into();
        let first = token(At::Ledger.gateway(&service, &service.sign(&root)).await).await;
        let of_first: Vec<String> = words(&claims(&first));
        let mut form = form(&first, OTHER_RESOURCE);
        let requested = dice.some(&all);
        if !requested.is_empty() {
            form.push(("scope", requested.join(" ")));
        }
        let derived = ask(&service, "ledger", &service.server_secret, &form).await;
        for word in words(&claims(&token(derived).await)) {
            assert!(held.contains(&word.as_str()) && of_first.contains(&word));
            assert!(requested.is_empty() || requested.contains(&word.as_str()));
            assert!(has.contains(&word.as_str()));
        }
    }
}

fn words(claims: &Value) -> Vec<String> {
    let scope = claims["scope"].as_str().unwrap_or_default();
    scope
        .split(' ')
        .filter(|w| !w.is_empty())
        .map(str::to_owned)
        .collect()
}

const ACTS: &str = r#"package writ
import rego.v1
default exchange := {"allow": false, "reason": "planner delegates on the ledger only"}
exchange := {"allow": true} if {
	input.agent.id == "planner"
	input.server.id == "ledger"
	input.exchange.kind == "delegation"
	input.exchange.subject_agent == "assistant"
}
exchange := {"allow": true} if {
	input.agent.id == "planner"
	input.server.id == "other"
	input.exchange.kind == "impersonation"
}
"#;

/// A service where policy lets an agent with a secret act for others.
async fn with_planner() -> (Service, String) {
    let service = Service::start_with(|config| {
        let dir = config.policy_dir.clone().unwrap();
        std::fs::write(dir.join("acts.rego"), ACTS).unwrap();
    })
    .await;
    let secret = writ_token_service::secret::generate().to_string();
    let planner = Agent {
        secret: Some(SecretHash::of(&secret)),
        grants: vec![Grant::ClientCredentials, Grant::TokenExchange],
        ..Agent::new("planner".parse().unwrap(), "Planner", AuthMethod::Secret)
    };
    service
        .store()
        .add_agent(&planner, Timestamp::now())
        .await
        .unwrap();
    (service, secret)
}

async fn own_token(service: &Service, secret: &str) -> String {
    let form = [
        ("grant_type", "client_credentials".to_owned()),
        ("resource", RESOURCE.to_owned()),
    ];
    token(ask(service, "planner", secret, &form).await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_acts_for_another_in_its_own_name_where_policy_lets_it() {
    let (service, secret) = with_planner().await;
    let mut asked = form(&service.caller_token(), RESOURCE);
    asked.push(("actor_token", own_token(&service, &secret).await));
    asked.push(("actor_token_type", ACCESS_TOKEN.to_owned()));
    asked.push(("scope", "ledger:read".to_owned()));
    let delegated = token(ask(&service, "planner", &secret, &asked).await).await;
    let said = claims(&delegated);
    assert_eq!(
        (&said["sub"], &said["client_id"], &said["scope"]),
        (&json!("alice"), &json!("planner"), &json!("ledger:read"))
    );
    assert_eq!(
        said["act"],
        json!({"sub": "planner", "act": {"sub": "assistant"}})
    );
    assert_eq!(
        (&said["agent_authn"], &said["groups"]),
        (&json!("secret"), &json!(["finance"]))
    );
    let from = said["derived_from"].as_array().unwrap();
    assert!(from.contains(&json!("agent:assistant")), "{from:?}");
    let minted = claims(&token(At::Ledger.gateway(&service, &delegated).await).await);
    assert_eq!(minted["aud"], AUDIENCE);
    assert_eq!(
        minted["act"],
        json!({"sub": "edge", "act": {"sub": "planner", "act": {"sub": "assistant"}}})
    );
    let from = minted["derived_from"].as_array().unwrap();
    assert!(from.contains(&json!("agent:assistant")), "{from:?}");
    // The one whose token it was is switched off: so is what was handed on.
    let store = service.elsewhere().await;
    store
        .set_status(
            Registered::Agent,
            "assistant",
            Status::Disabled,
            None,
            Timestamp::now(),
        )
        .await
        .unwrap();
    let response = At::Ledger.gateway(&service, &delegated).await;
    assert_eq!(refusal(response).await, (400, "invalid_grant".into()));
    // Gateways, guards and connect find out by what the token is derived from.
    let edge = Follower::up_to_date(&service, "edge", &service.gateway_secret).await;
    let revoked = edge.revoked();
    let now = writ_token_service::clock::unix(Timestamp::now());
    let accepted = service.running.app.verify(&delegated, now).await.unwrap();
    let mut origins = accepted.claims.origins();
    assert!(origins.any(|id| revoked.contains(id)));
    assert!(!revoked.contains("agent:planner"), "it is in use");
}

#[tokio::test(flavor = "multi_thread")]
async fn impersonation_names_no_actor_but_the_trail_says_who_asked() {
    let (service, secret) = with_planner().await;
    let asked = form(&service.caller_token(), OTHER_RESOURCE);
    let said = claims(&token(ask(&service, "planner", &secret, &asked).await).await);
    assert_eq!(said["act"], Value::Null);
    assert_eq!(
        (&said["sub"], &said["client_id"]),
        (&json!("alice"), &json!("planner"))
    );
    let refused = form(&service.caller_token(), RESOURCE);
    let response = ask(&service, "planner", &secret, &refused).await;
    assert_eq!(refusal(response).await, (403, "access_denied".into()));
    let mut records = service.records().await;
    records.retain(|record| Finding::on(record) != Some(Finding::NewAgent));
    let [issued, unapproved, denied] = records.as_slice() else {
        panic!("{records:?}")
    };
    let found = Finding::on(unapproved);
    assert_eq!(
        found,
        Some(Finding::UnapprovedAgent),
        "alice never gave it leave"
    );
    for record in [issued, denied] {
        assert_eq!(record.agent.as_deref(), Some("planner"));
        assert_eq!(record.subject.as_deref(), Some("alice"));
        let detail = record.detail.as_ref().unwrap();
        assert_eq!(
            (&detail["kind"], &detail["subject_agent"]),
            (&json!("impersonation"), &json!("assistant"))
        );
    }
    assert_eq!(
        (issued.kind, denied.decision),
        (Kind::TokenIssued, Some(Verdict::Deny))
    );
    assert_eq!(
        denied.reason.as_deref(),
        Some("planner delegates on the ledger only")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn impersonation_ends_with_the_agent_whose_token_it_was() {
    let (service, secret) = with_planner().await;
    let asked = form(&service.caller_token(), OTHER_RESOURCE);
    let impersonated = token(ask(&service, "planner", &secret, &asked).await).await;
    token(At::Other.gateway(&service, &impersonated).await).await;
    let (now, store) = (Timestamp::now(), service.elsewhere().await);
    store
        .set_status(Registered::Agent, "assistant", Status::Disabled, None, now)
        .await
        .unwrap();
    let response = At::Other.gateway(&service, &impersonated).await;
    assert_eq!(refusal(response).await, (400, "invalid_grant".into()));
    store
        .remove(Registered::Agent, "assistant", now)
        .await
        .unwrap();
    let response = At::Other.gateway(&service, &impersonated).await;
    assert_eq!(refusal(response).await, (400, "invalid_grant".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_that_another_agent_acts_for_stays_the_subject_at_the_next_server() {
    let (service, _) = with_planner().await;
    let mut caller = service.caller_claims();
    caller["sub"] = json!("assistant");
    caller["subject_type"] = json!("workload");
    caller["client_id"] = json!("planner");
    caller["act"] = json!({"sub": "planner", "act": {"sub": "assistant"}});
    caller["derived_from"] = json!(["before"]);
    caller["chain"] = json!({"hops": 0, "until": caller["exp"], "agent_authn": "secret"});
    let first = token(At::Ledger.gateway(&service, &service.sign(&caller)).await).await;
    let said = claims(&token(At::Ledger.onward(&service, &first).await).await);
    assert_eq!(
        (&said["sub"], &said["subject_type"], &said["client_id"]),
        (&json!("assistant"), &json!("workload"), &json!("planner"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_acts_for_another_on_a_token_that_does_not_allow_it() {
    let (service, secret) = with_planner().await;
    let with = |name: &str, value: Value| {
        let mut claims = service.caller_claims();
        claims[name] = value;
        service.sign(&claims)
    };
    let (minted, _) = service.mint(&call("echo")).await;
    for subject in [
        minted,
        with("may_act", json!({"sub": "helper"})),
        with("may_act", json!("planner")),
        with("cnf", json!({"jkt": "x"})),
        with("aud", json!("https://writ.test/oauth/userinfo")),
        with("client_id", json!("nobody")),
        with("chain", json!({"hops": 0})),
    ] {
        let response = ask(
            &service,
            "planner",
            &secret,
            &form(&subject, OTHER_RESOURCE),
        )
        .await;
        assert_eq!(
            refusal(response).await,
            (400, "invalid_grant".into()),
            "{}",
            claims(&subject)
        );
    }
    let named = with("may_act", json!({"sub": "planner"}));
    token(ask(&service, "planner", &secret, &form(&named, OTHER_RESOURCE)).await).await;
    // Somebody else's token is no proof of who acts.
    let mut borrowed = form(&service.caller_token(), RESOURCE);
    borrowed.push(("actor_token", service.caller_token()));
    borrowed.push(("actor_token_type", ACCESS_TOKEN.to_owned()));
    let response = ask(&service, "planner", &secret, &borrowed).await;
    assert_eq!(refusal(response).await, (400, "invalid_grant".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_the_grant_or_without_a_credential_exchanges_nothing() {
    let service = service().await;
    let mut asked = form(&service.caller_token(), RESOURCE);
    asked.push(("client_id", "helper".to_owned()));
    let request = service.http.post(service.public_url("/oauth/token"));
    let response = request.form(&asked).send().await.unwrap();
    assert_eq!(refusal(response).await, (400, "unauthorized_client".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_rule_nobody_acts_for_another() {
    let (service, secret) = with_planner().await;
    std::fs::remove_file(
        service
            .running
            .app
            .config
            .policy_dir
            .as_ref()
            .unwrap()
            .join("acts.rego"),
    )
    .unwrap();
    service.running.reload_policy().await.unwrap();
    let asked = form(&service.caller_token(), OTHER_RESOURCE);
    let response = ask(&service, "planner", &secret, &asked).await;
    assert_eq!(refusal(response).await, (403, "access_denied".into()));
}
