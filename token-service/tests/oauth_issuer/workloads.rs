use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tempfile::TempDir;
use writ_token_service::{
    oauth::{assertion, workload},
    registry::{Agent, AuthMethod, Grant, Workload},
    store::{StoreError, registrations::Registered},
};

use crate::{
    issuer::{Issuer, PUBLIC, RESOURCE, ROBOT},
    platform::{Platform, Signer, changed},
};

const SPIFFE_ID: &str = "spiffe://example.org/payments/settler";
const CLUSTER: &str = "https://kubernetes.default.svc.cluster.local";
const ACCOUNT: &str = "system:serviceaccount:payments:settler";

/// An issuer with a trust domain, a cluster, and an agent in each.
struct World {
    issuer: Issuer,
    domain: Signer,
    cluster: Signer,
    files: TempDir,
}

impl World {
    async fn start() -> Self {
        let (domain, cluster) = (Signer::es256("svid"), Signer::rs256("sa"));
        let files = tempfile::tempdir().unwrap();
        let write = |name: &str, document: Value| {
            let path = files.path().join(name);
            std::fs::write(&path, document.to_string()).unwrap();
            path.display().to_string()
        };
        let authority = json!({"use": "x509-svid", "kty": "EC", "crv": "P-384", "x": "AA", "y": "AA", "x5c": ["AA"]});
        let bundle = json!({"keys": [authority, domain.jwk("jwt-svid")], "spiffe_sequence": 1, "spiffe_refresh_hint": 300});
        let config = format!(
            "[[workloads.spiffe]]\ntrust_domain = 'example.org'\nbundle_file = '{}'\n\
             [[workloads.kubernetes]]\nissuer = '{CLUSTER}'\njwks_file = '{}'\n",
            write("bundle.json", bundle),
            write("cluster.json", cluster.jwks()),
        );
        let issuer = Issuer::start_from(&config, &[]).await;
        for (id, workload) in [
            ("settler", Workload::spiffe(SPIFFE_ID).unwrap()),
            ("pod", Workload::kubernetes(CLUSTER, ACCOUNT).unwrap()),
        ] {
            issuer.add(&agent(id, workload)).await.unwrap();
        }
        Self {
            issuer,
            domain,
            cluster,
            files,
        }
    }

    fn svid_claims(&self) -> Value {
        let now = self.issuer.now();
        json!({"sub": SPIFFE_ID, "aud": [self.issuer.url], "iat": now, "exp": now + 300})
    }

    fn account_claims(&self) -> Value {
        let now = self.issuer.now();
        json!({"iss": CLUSTER, "sub": ACCOUNT, "aud": [self.issuer.url], "iat": now, "nbf": now, "exp": now + 3600,
            "kubernetes.io": {"namespace": "payments", "serviceaccount": {"name": "settler", "uid": "u"}}})
    }

    async fn with(&self, kind: &str, text: &str, more: &[(&str, &str)]) -> (u16, Value) {
        let mut form = vec![
            ("grant_type", "client_credentials"),
            ("resource", RESOURCE),
            ("client_assertion_type", kind),
            ("client_assertion", text),
        ];
        form.extend(more);
        self.issuer.token(&form).await
    }

    async fn with_svid(&self, changes: &Value) -> (u16, Value) {
        let svid = self
            .domain
            .sign(Some("JWT"), &changed(self.svid_claims(), changes));
        self.with(workload::SPIFFE, &svid, &[]).await
    }

    async fn with_account(&self, changes: &Value) -> (u16, Value) {
        let token = self
            .cluster
            .sign(None, &changed(self.account_claims(), changes));
        self.with(assertion::TYPE, &token, &[]).await
    }
}

fn agent(id: &str, workload: Workload) -> Agent {
    Agent {
        workload: Some(workload),
        grants: vec![Grant::ClientCredentials],
        ..Agent::new(id.parse().unwrap(), id, AuthMethod::Workload)
    }
}

fn unsigned(claims: &Value) -> String {
    let encode = |v: &Value| URL_SAFE_NO_PAD.encode(v.to_string());
    format!("{}.{}.", encode(&json!({"alg": "none"})), encode(claims))
}

#[track_caller]
fn assert_refused((status, answer): &(u16, Value), about: &str) {
    assert_eq!(
        (*status, answer["error"].as_str()),
        (401, Some("invalid_client")),
        "{answer}"
    );
    let told = answer["error_description"].as_str().unwrap();
    assert!(told.contains(about), "{about}: {told}");
}

#[tokio::test]
async fn a_workload_with_a_jwt_svid_gets_a_token_for_itself_as_often_as_it_asks() {
    let world = World::start().await;
    let svid = world.domain.sign(Some("JWT"), &world.svid_claims());
    for more in [
        &[][..],
        &[("client_id", "settler")],
        &[("client_id", SPIFFE_ID)],
    ] {
        let (status, answer) = world.with(workload::SPIFFE, &svid, more).await;
        assert_eq!(status, 200, "{answer}");
        let token = answer["access_token"].as_str().unwrap();
        let claims = world.issuer.claims(token).await;
        assert_eq!(
            (&claims["sub"], &claims["client_id"], &claims["agent_authn"]),
            (&json!("settler"), &json!("settler"), &json!("workload"))
        );
        assert_eq!(claims["subject_type"], "workload");
    }
    let other = world
        .with(workload::SPIFFE, &svid, &[("client_id", ROBOT)])
        .await;
    assert_refused(&other, "client_id");
}

#[tokio::test]
async fn the_metadata_say_that_svids_are_taken_where_they_are() {
    let metadata = async |issuer: &Issuer| -> Value {
        let url = format!("{}/.well-known/oauth-authorization-server", issuer.url);
        reqwest::get(url).await.unwrap().json().await.unwrap()
    };
    let taken = |metadata: &Value| {
        let methods = metadata["token_endpoint_auth_methods_supported"].as_array();
        methods.unwrap().contains(&json!("spiffe_jwt"))
    };
    assert!(taken(&metadata(&World::start().await.issuer).await));
    assert!(!taken(&metadata(&Issuer::start().await).await));
}

#[tokio::test]
async fn a_pod_with_a_service_account_token_gets_a_token_for_itself() {
    let world = World::start().await;
    for _ in 0..2 {
        let (status, answer) = world.with_account(&json!({})).await;
        assert_eq!(status, 200, "{answer}");
        let token = answer["access_token"].as_str().unwrap();
        let claims = world.issuer.claims(token).await;
        assert_eq!(claims["sub"], "pod");
        assert_eq!(claims["agent_authn"], "workload");
    }
}

#[tokio::test]
async fn what_a_workload_receives_is_good_at_the_gateway_alone() {
    let world = World::start().await;
    let (_, answer) = world.with_svid(&json!({})).await;
    let token = answer["access_token"].as_str().unwrap();
    let claims = world.issuer.claims(token).await;
    assert_eq!(
        claims["aud"], RESOURCE,
        "the gateway's resource, not the server's audience"
    );
    assert!(claims.get("groups").is_none());
    assert!(answer.get("refresh_token").is_none() && answer.get("id_token").is_none());
    // The server itself is told that it is no token for it, and that it was tried there is on record.
    let told: Value = reqwest::Client::new()
        .post(format!("{}/oauth/introspect", world.issuer.url))
        .basic_auth("ledger", Some("server"))
        .form(&[("token", token)])
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(told, json!({"active": false}));
    // It tells nothing about anybody.
    let userinfo = reqwest::Client::new()
        .get(format!("{}/oauth/userinfo", world.issuer.url))
        .bearer_auth(token)
        .send()
        .await
        .unwrap();
    assert_eq!(userinfo.status(), 403);
    let challenge = userinfo.headers()["www-authenticate"].to_str().unwrap();
    assert!(
        challenge.contains("error=\"insufficient_scope\""),
        "{challenge}"
    );
    // And it authenticates nobody at the token endpoint.
    let again = world.with(workload::SPIFFE, token, &[]).await;
    assert_eq!(again.0, 401, "{again:?}");
}

#[tokio::test]
async fn an_svid_proves_a_workload_of_its_own_trust_domain_to_this_issuer_for_its_time() {
    let world = World::start().await;
    let (url, now) = (world.issuer.url.clone(), world.issuer.now());
    for (changes, about) in [
        (
            json!({"sub": "spiffe://other.org/payments/settler"}),
            "trust domain",
        ),
        (json!({"sub": "spiffe://example.org"}), "SPIFFE ID"),
        (json!({"sub": "settler"}), "SPIFFE ID"),
        (json!({"sub": null}), "SPIFFE ID"),
        (
            json!({"sub": "spiffe://example.org/payments/other"}),
            "no agent",
        ),
        (json!({"aud": ["https://other.test"]}), "aud"),
        (json!({"aud": [url, "https://other.test"]}), "aud"),
        (json!({"aud": format!("{url}/oauth/token")}), "aud"),
        (json!({"aud": null}), "aud"),
        (json!({"exp": now - 60}), "expired"),
        (json!({"exp": null}), "expired"),
        (json!({"exp": now + 90_000}), "more than a day"),
        (json!({"nbf": now + 60}), "not valid yet"),
    ] {
        let answer = world.with_svid(&changes).await;
        assert_refused(&answer, about);
    }
}

#[tokio::test]
async fn an_svid_that_its_trust_domain_did_not_sign_is_refused() {
    let world = World::start().await;
    let claims = world.svid_claims();
    let stranger = Signer::es256("svid");
    for forged in [
        unsigned(&claims),
        stranger.sign(Some("JWT"), &claims),
        Signer::es256("unknown").sign(Some("JWT"), &claims),
        // Another platform that is trusted too, but for its own workloads only.
        world.cluster.sign(Some("JWT"), &claims),
        world.domain.confused(Some("JWT"), &claims),
        world.domain.sign(Some("at+jwt"), &claims),
    ] {
        let answer = world.with(workload::SPIFFE, &forged, &[]).await;
        assert_refused(&answer, "JWT-SVID");
    }
    // The certificate authorities in the bundle sign certificates, not JWT-SVIDs.
    let bundle = json!({"keys": [world.domain.jwk("x509-svid")]});
    std::fs::write(world.files.path().join("bundle.json"), bundle.to_string()).unwrap();
    world.issuer.pass(301);
    assert_refused(&world.with_svid(&json!({})).await, "signature");
}

#[tokio::test]
async fn a_service_account_token_proves_an_account_of_its_own_cluster_to_this_issuer_for_its_time()
{
    let world = World::start().await;
    let (url, now) = (world.issuer.url.clone(), world.issuer.now());
    for (changes, about) in [
        // What every pod has without asking is for the cluster itself.
        (json!({"aud": [CLUSTER]}), "aud"),
        (json!({"aud": ["vault"]}), "aud"),
        (json!({"aud": [url, CLUSTER]}), "aud"),
        (
            json!({"sub": "system:serviceaccount:default:settler"}),
            "no agent",
        ),
        (json!({"sub": "system:node:settler"}), "sub"),
        (
            json!({"sub": "system:serviceaccount:payments:settler:x"}),
            "sub",
        ),
        (json!({"exp": now - 60}), "expired"),
        (json!({"exp": now + 90_000}), "more than a day"),
        (json!({"iss": "https://other-cluster.test"}), "client"),
    ] {
        let answer = world.with_account(&changes).await;
        assert_refused(&answer, about);
    }
    let claims = world.account_claims();
    for forged in [
        unsigned(&claims),
        Signer::rs256("sa").sign(None, &claims),
        world.domain.sign(None, &claims),
        world.cluster.confused(None, &claims),
    ] {
        let answer = world.with(assertion::TYPE, &forged, &[]).await;
        assert_refused(&answer, "service-account token");
    }
}

#[tokio::test]
async fn each_attestation_has_its_own_assertion_type() {
    let world = World::start().await;
    let svid = world.domain.sign(Some("JWT"), &world.svid_claims());
    assert_eq!(world.with(assertion::TYPE, &svid, &[]).await.0, 401);
    let token = world.cluster.sign(None, &world.account_claims());
    assert_eq!(world.with(workload::SPIFFE, &token, &[]).await.0, 401);
    let (status, answer) = world.with("urn:other", &svid, &[]).await;
    assert_eq!(
        (status, answer["error"].as_str()),
        (400, Some("invalid_request"))
    );
}

#[tokio::test]
async fn a_disabled_agent_is_refused_whatever_its_platform_says() {
    let world = World::start().await;
    assert_eq!(world.with_svid(&json!({})).await.0, 200);
    world.issuer.disable(Registered::Agent, "settler").await;
    assert_refused(&world.with_svid(&json!({})).await, "disabled");
}

#[tokio::test]
async fn one_workload_is_one_agent() {
    let world = World::start().await;
    let twin = agent("twin", Workload::spiffe(SPIFFE_ID).unwrap());
    let refused = world.issuer.add(&twin).await;
    assert!(
        matches!(refused, Err(StoreError::Conflict(_))),
        "{refused:?}"
    );
}

/// An agent whose keys are at a URL of its own, and an issuer that may fetch them from this machine.
async fn with_remote_keys(path: &str) -> (Platform, Issuer, TempDir) {
    let platform = Platform::start().await;
    let files = tempfile::tempdir().unwrap();
    let authority = files.path().join("ca.pem");
    std::fs::write(&authority, &platform.authority_pem).unwrap();
    let config = format!(
        "[outbound]\nallow = ['127.0.0.0/8', '::1/128']\nca_file = '{}'\n\
         [[workloads.kubernetes]]\nissuer = '{}'\n",
        authority.display(),
        platform.url,
    );
    let issuer = Issuer::start_from(&config, &[]).await;
    let agent = Agent {
        jwks_uri: Some(platform.url(path)),
        grants: vec![Grant::ClientCredentials],
        ..Agent::new("remote".parse().unwrap(), "remote", AuthMethod::Key)
    };
    issuer.add(&agent).await.unwrap();
    (platform, issuer, files)
}

async fn with_key(issuer: &Issuer, key: &Signer) -> (u16, Value) {
    let now = issuer.now();
    let claims = json!({"iss": "remote", "sub": "remote", "aud": issuer.url, "iat": now, "exp": now + 60,
        "jti": uuid::Uuid::now_v7().to_string()});
    issuer
        .token(&[
            ("grant_type", "client_credentials"),
            ("resource", RESOURCE),
            ("client_assertion_type", assertion::TYPE),
            ("client_assertion", &key.sign(Some("JWT"), &claims)),
        ])
        .await
}

#[tokio::test]
async fn an_agents_keys_may_be_at_a_url_and_change_there() {
    let (platform, issuer, _files) = with_remote_keys("/keys").await;
    let (old, new) = (Signer::es256("old"), Signer::es256("new"));
    platform.publish("/keys", old.jwks());
    for _ in 0..3 {
        assert_eq!(with_key(&issuer, &old).await.0, 200);
    }
    assert_eq!(platform.asked("/keys"), 1, "they are kept");
    platform.publish("/keys", new.jwks());
    for _ in 0..3 {
        assert_eq!(with_key(&issuer, &new).await.0, 401);
    }
    assert_eq!(platform.asked("/keys"), 1, "not asked for again so soon");
    issuer.pass(31);
    assert_eq!(with_key(&issuer, &new).await.0, 200);
    assert_eq!(with_key(&issuer, &old).await.0, 401, "the old key is gone");
    assert_eq!(platform.asked("/keys"), 2);
}

#[tokio::test]
async fn keys_that_cannot_be_had_prove_nothing() {
    let (platform, issuer, _files) = with_remote_keys("/keys").await;
    let key = Signer::es256("k");
    assert_refused(&with_key(&issuer, &key).await, "jwks_uri");
    platform.publish("/keys", json!({"keys": {}}));
    issuer.pass(31);
    assert_refused(&with_key(&issuer, &key).await, "jwks_uri");
}

#[tokio::test]
async fn a_url_that_a_client_names_does_not_lead_into_the_network_behind_the_service() {
    let platform = Platform::start().await;
    let issuer = Issuer::start().await;
    let key = Signer::es256("k");
    platform.publish("/keys", key.jwks());
    let agent = Agent {
        jwks_uri: Some(platform.url("/keys")),
        grants: vec![Grant::ClientCredentials],
        ..Agent::new("remote".parse().unwrap(), "remote", AuthMethod::Key)
    };
    issuer.add(&agent).await.unwrap();
    assert_refused(&with_key(&issuer, &key).await, "jwks_uri");
    assert_eq!(platform.asked("/keys"), 0);
}

#[tokio::test]
async fn a_clusters_keys_are_where_its_issuer_says() {
    let (platform, issuer, _files) = with_remote_keys("/unused").await;
    let key = Signer::rs256("sa");
    platform.publish(
        "/.well-known/openid-configuration",
        json!({"issuer": platform.url, "jwks_uri": platform.url("/openid/v1/jwks")}),
    );
    platform.publish("/openid/v1/jwks", key.jwks());
    let pod = agent("pod", Workload::kubernetes(&platform.url, ACCOUNT).unwrap());
    issuer.add(&pod).await.unwrap();
    let now = issuer.now();
    let claims =
        json!({"iss": platform.url, "sub": ACCOUNT, "aud": [issuer.url], "exp": now + 600});
    let ask = async || {
        let token = key.sign(None, &claims);
        issuer
            .token(&[
                ("grant_type", "client_credentials"),
                ("resource", RESOURCE),
                ("client_assertion_type", assertion::TYPE),
                ("client_assertion", &token),
            ])
            .await
    };
    assert_eq!(ask().await.0, 200);
    // The document of somebody else, at the same place.
    platform.publish(
        "/.well-known/openid-configuration",
        json!({"issuer": "https://other.test", "jwks_uri": platform.url("/openid/v1/jwks")}),
    );
    issuer.pass(301);
    assert_eq!(
        ask().await.0,
        200,
        "the keys of a moment ago are still good"
    );
    issuer.pass(3600);
    let (status, answer) = ask().await;
    assert_eq!(status, 401, "the token itself has expired by now: {answer}");
}

#[tokio::test]
async fn no_platform_is_believed_unless_it_is_named() {
    let issuer = Issuer::start().await;
    let key = Signer::es256("svid");
    let svid = key.sign(
        Some("JWT"),
        &json!({"sub": SPIFFE_ID, "aud": issuer.url, "exp": issuer.now() + 60}),
    );
    let form = [
        ("grant_type", "client_credentials"),
        ("resource", RESOURCE),
        ("client_id", PUBLIC),
        ("client_assertion_type", workload::SPIFFE),
        ("client_assertion", svid.as_str()),
    ];
    assert_refused(&issuer.token(&form).await, "trust domain");
}
