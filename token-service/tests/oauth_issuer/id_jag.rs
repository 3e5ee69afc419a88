//! Enterprise-managed authorization: the provider says for whom a client may act.

use serde_json::{Value, json};
use writ_token_service::{
    audit::Finding,
    registry::{Agent, AuthMethod, Grant},
    store::{
        consents::{self, Consent},
        identities, providers,
        registrations::Registered,
        users,
    },
};

use crate::{
    browser::{Browser, Request},
    idp::{Idp, merge, unsigned, with_secret},
    issuer::{CONFIDENTIAL, Issuer, OTHER_RESOURCE, PUBLIC, RESOURCE, SECRET, agent},
    platform::{Signer, changed},
};

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const TYPE: &str = "oauth-id-jag+jwt";
const CLIENT: &str = "planner";

struct World {
    idp: Idp,
    issuer: Issuer,
}

impl World {
    async fn start() -> Self {
        let idp = Idp::start().await;
        let toml = idp.toml("corp", "id_jag = true");
        let issuer = Issuer::start_from(&toml, &[("IDP_SECRET", crate::idp::CLIENT_SECRET)]).await;
        let planner = Agent {
            grants: vec![Grant::JwtBearer],
            ..agent(CLIENT, AuthMethod::Secret, &[])
        };
        issuer.add(&planner).await.unwrap();
        Self { idp, issuer }
    }

    fn claims(&self) -> Value {
        let now = self.issuer.now();
        json!({"iss": self.idp.url, "sub": "u-1", "aud": self.issuer.url, "client_id": CLIENT, "iat": now, "exp": now + 300,
            "jti": uuid::Uuid::now_v7().to_string(), "resource": RESOURCE, "scope": "accounts:read admin",
            "preferred_username": "alice", "email": "alice@corp.example", "groups": ["staff"]})
    }

    fn jag(&self, changes: &Value) -> String {
        let mut claims = self.claims();
        merge(&mut claims, changes);
        self.idp.sign(TYPE, &claims)
    }

    async fn send(&self, assertion: &str, more: &[(&str, &str)]) -> (u16, Value) {
        let mut form = vec![("grant_type", JWT_BEARER), ("assertion", assertion)];
        form.extend(more);
        self.issuer.token_with(Some((CLIENT, SECRET)), &form).await
    }

    async fn good(&self, changes: &Value) -> Value {
        let (status, answer) = self.send(&self.jag(changes), &[]).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }
}

#[track_caller]
fn assert_refused((status, answer): &(u16, Value), error: &str, about: &str) {
    assert_eq!(
        (*status, answer["error"].as_str()),
        (400, Some(error)),
        "{answer}"
    );
    let told = answer["error_description"].as_str().unwrap();
    assert!(told.contains(about), "{about}: {told}");
}

#[tokio::test]
async fn a_client_acts_for_a_user_whose_provider_says_so() {
    let world = World::start().await;
    let answer = world.good(&json!({})).await;
    assert_eq!(answer["token_type"], "Bearer");
    assert!(answer.get("refresh_token").is_none());
    assert_eq!(
        answer["scope"], "accounts:read",
        "what both the provider grants and the server has"
    );
    let claims = world
        .issuer
        .claims(answer["access_token"].as_str().unwrap())
        .await;
    assert_eq!(claims["sub"], "alice@corp");
    assert_eq!(claims["client_id"], CLIENT);
    assert_eq!(claims["aud"], RESOURCE);
    assert_eq!(claims["subject_type"], "user");
    assert_eq!(claims["agent_authn"], "secret");
    assert_eq!(claims["groups"], json!(["corp:staff"]));
    let records = world.issuer.records().await;
    let issued = records
        .iter()
        .find(|r| r.kind.as_str() == "token_issued")
        .unwrap();
    assert_eq!(issued.subject.as_deref(), Some("alice@corp"));
    assert_eq!(issued.detail.as_ref().unwrap()["grant"], JWT_BEARER);
}

#[tokio::test]
async fn a_user_who_never_gave_the_client_leave_is_a_finding_once() {
    let world = World::start().await;
    for _ in 0..2 {
        world.good(&json!({})).await;
    }
    let found = async |finding: Finding| {
        let records = world.issuer.records().await;
        let found = records.into_iter();
        let found = found.filter(|record| Finding::on(record) == Some(finding));
        found.collect::<Vec<_>>()
    };
    for finding in [Finding::UnapprovedAgent, Finding::NewAgent] {
        let records = found(finding).await;
        assert_eq!(records.len(), 1, "{records:?}");
        assert_eq!(records[0].subject.as_deref(), Some("alice@corp"));
        assert_eq!(records[0].agent.as_deref(), Some(CLIENT));
    }
    // A client that the user has agreed to here.
    let scheduler = Agent {
        grants: vec![Grant::JwtBearer],
        ..agent("scheduler", AuthMethod::Secret, &[])
    };
    world.issuer.add(&scheduler).await.unwrap();
    let consent = Consent {
        user: "alice@corp",
        client_id: "scheduler",
        redirect_host: "scheduler.example",
        resource: RESOURCE,
        scope: "accounts:read",
    };
    let mut tx = world.issuer.running.app.store.write().await.unwrap();
    let now = jiff::Timestamp::now();
    consents::remember(tx.conn(), &consent, now).await.unwrap();
    tx.commit().await.unwrap();
    let jag = world.jag(&json!({"client_id": "scheduler"}));
    let form = [("grant_type", JWT_BEARER), ("assertion", jag.as_str())];
    let by_scheduler = world.issuer.token_with(Some(("scheduler", SECRET)), &form);
    assert_eq!(by_scheduler.await.0, 200);
    assert_eq!(found(Finding::UnapprovedAgent).await.len(), 1);
    assert_eq!(found(Finding::NewAgent).await.len(), 2);
    // Another user has agreed to nothing.
    let carol = json!({"sub": "u-3", "preferred_username": "carol"});
    world.good(&carol).await;
    assert_eq!(found(Finding::UnapprovedAgent).await.len(), 2);
}

#[tokio::test]
async fn it_is_the_user_that_signs_in_at_that_provider_whatever_else_is_said() {
    let world = World::start().await;
    let (browser, query) = (Browser::new(&world.issuer), Request::new().query());
    let signed_in = world
        .idp
        .sign_in(
            &world.issuer,
            (&browser, "corp", &query),
            "u-1",
            &json!({"preferred_username": "alice", "groups": ["finance"]}),
        )
        .await;
    assert_eq!(signed_in.status, 303);
    let answer = world
        .good(&json!({"preferred_username": "mallory", "groups": ["admins"]}))
        .await;
    let claims = world
        .issuer
        .claims(answer["access_token"].as_str().unwrap())
        .await;
    assert_eq!(claims["sub"], "alice@corp");
    assert_eq!(
        claims["groups"],
        json!(["corp:finance"]),
        "as of the last sign-in"
    );
    let other = world.good(&json!({"sub": "u-2"})).await;
    let claims = world
        .issuer
        .claims(other["access_token"].as_str().unwrap())
        .await;
    assert_ne!(
        claims["sub"], "alice@corp",
        "a name that somebody has is not given to somebody else"
    );
}

#[tokio::test]
async fn scope_is_only_ever_less() {
    let world = World::start().await;
    for (granted, asked, given) in [
        (
            json!("accounts:read transfers:write"),
            None,
            json!("accounts:read transfers:write"),
        ),
        (
            json!("accounts:read transfers:write"),
            Some("accounts:read"),
            json!("accounts:read"),
        ),
        (
            json!("accounts:read"),
            Some("accounts:read transfers:write"),
            json!("accounts:read"),
        ),
        (json!("admin"), None, Value::Null),
        (Value::Null, Some("accounts:read"), Value::Null),
        (Value::Null, None, Value::Null),
    ] {
        let jag = world.jag(&json!({"scope": granted}));
        let more: Vec<_> = asked.iter().map(|asked| ("scope", *asked)).collect();
        let (status, answer) = world.send(&jag, &more).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["scope"], given, "{granted} {asked:?}");
    }
}

#[tokio::test]
async fn an_assertion_is_good_once() {
    let world = World::start().await;
    let jag = world.jag(&json!({}));
    assert_eq!(world.send(&jag, &[]).await.0, 200);
    assert_refused(&world.send(&jag, &[]).await, "invalid_grant", "used before");
    let at_once = world.jag(&json!({}));
    let (one, two) = tokio::join!(world.send(&at_once, &[]), world.send(&at_once, &[]));
    assert_eq!(one.0 + two.0, 200 + 400);
}

#[tokio::test]
async fn an_assertion_says_who_may_what_for_whom_where_and_when() {
    let world = World::start().await;
    let now = world.issuer.now();
    let grant = "invalid_grant";
    for (changes, error, about) in [
        (json!({"aud": "https://other.test"}), grant, "aud"),
        (
            json!({"aud": [world.issuer.url, "https://other.test"]}),
            grant,
            "aud",
        ),
        (
            json!({"aud": format!("{}/oauth/token", world.issuer.url)}),
            grant,
            "aud",
        ),
        (json!({"client_id": CONFIDENTIAL}), grant, "client_id"),
        (json!({"client_id": null}), grant, "client_id"),
        (
            json!({"iss": "https://other.test"}),
            grant,
            "identity provider",
        ),
        (json!({"sub": null}), grant, "sub"),
        (json!({"sub": ""}), grant, "sub"),
        (json!({"sub": "x".repeat(256)}), grant, "sub"),
        (json!({"jti": null}), grant, "jti"),
        (json!({"exp": now - 60}), grant, "expired"),
        (json!({"exp": now + 7200}), grant, "more than an hour"),
        (json!({"exp": null}), grant, "expired"),
        (json!({"iat": null}), grant, "when it was made"),
        (json!({"iat": now + 60}), grant, "not valid yet"),
        (json!({"resource": null}), grant, "resource"),
        (
            json!({"resource": [RESOURCE, OTHER_RESOURCE]}),
            grant,
            "resource",
        ),
        (
            json!({"resource": "https://unknown.test"}),
            "invalid_target",
            "resource",
        ),
        (
            json!({"resource": "urn:ledger"}),
            "invalid_target",
            "resource",
        ),
        (json!({"scope": ["accounts:read"]}), grant, "scope"),
        (json!({"cnf": {"jkt": "x"}}), grant, "DPoP"),
        (json!({"cnf": {"x5t#S256": "x"}}), grant, "bound to a key"),
    ] {
        let refused = world.send(&world.jag(&changes), &[]).await;
        assert_refused(&refused, error, about);
    }
    let elsewhere = world
        .send(&world.jag(&json!({})), &[("resource", OTHER_RESOURCE)])
        .await;
    assert_refused(&elsewhere, "invalid_target", "assertion");
}

#[tokio::test]
async fn no_other_jwt_is_an_assertion() {
    let world = World::start().await;
    let claims = world.claims();
    for typ in ["JWT", "at+jwt", "id-jag+jwt", "OAUTH-ID-JAG+JWT"] {
        let other = world.idp.sign(typ, &claims);
        assert_refused(&world.send(&other, &[]).await, "invalid_grant", "typ");
    }
    let hour = changed(claims.clone(), &json!({}));
    for forged in [
        unsigned(TYPE, &claims),
        with_secret(&claims),
        Signer::es256("k1").sign(Some(TYPE), &hour),
        Signer::es256("k1").confused(Some(TYPE), &hour),
        "x".to_owned(),
    ] {
        let refused = world.send(&forged, &[]).await;
        assert_eq!(
            (refused.0, refused.1["error"].as_str()),
            (400, Some("invalid_grant")),
            "{forged}"
        );
    }
}

#[tokio::test]
async fn only_a_client_that_proves_itself_and_is_registered_for_it_may() {
    let world = World::start().await;
    let form = |jag: String| vec![("grant_type", JWT_BEARER.to_owned()), ("assertion", jag)];
    let send = async |basic, form: Vec<(&str, String)>| {
        let form: Vec<_> = form.iter().map(|(n, v)| (*n, v.as_str())).collect();
        world.issuer.token_with(basic, &form).await
    };
    let public = Agent {
        grants: vec![Grant::JwtBearer],
        ..agent("public", AuthMethod::None, &[])
    };
    world.issuer.add(&public).await.unwrap();
    let mut as_public = form(world.jag(&json!({"client_id": "public"})));
    as_public.push(("client_id", "public".to_owned()));
    let (_, answer) = send(None, as_public).await;
    assert_eq!(answer["error"], "unauthorized_client");
    let jag = world.jag(&json!({"client_id": CONFIDENTIAL}));
    let (_, answer) = send(Some((CONFIDENTIAL, SECRET)), form(jag)).await;
    assert_eq!(answer["error"], "unauthorized_client");
    let (status, _) = send(Some((CLIENT, "wrong")), form(world.jag(&json!({})))).await;
    assert_eq!(status, 401);
    let mut as_other = form(world.jag(&json!({})));
    as_other.push(("client_id", PUBLIC.to_owned()));
    assert_ne!(send(None, as_other).await.0, 200);
}

#[tokio::test]
async fn who_is_switched_off_here_or_at_the_provider_stays_so() {
    let world = World::start().await;
    world.good(&json!({})).await;
    let store = &world.issuer.running.app.store;

    let mut tx = store.write().await.unwrap();
    let now = world.issuer.running.app.clock.now();
    users::set_active(tx.conn(), "alice@corp", false, now)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let refused = world.send(&world.jag(&json!({})), &[]).await;
    assert_refused(&refused, "invalid_grant", "switched off");
    world.good(&json!({"sub": "u-2"})).await;

    let mut tx = store.write().await.unwrap();
    providers::set_active(tx.conn(), "corp", false)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let refused = world.send(&world.jag(&json!({"sub": "u-2"})), &[]).await;
    assert_refused(&refused, "invalid_grant", "switched off");

    world.issuer.disable(Registered::Agent, CLIENT).await;
    assert_eq!(world.send(&world.jag(&json!({})), &[]).await.0, 401);
}

#[tokio::test]
async fn what_the_provider_granted_before_it_ended_the_sign_in_is_over() {
    let world = World::start().await;
    world.good(&json!({})).await;
    let before = world.jag(&json!({}));
    world.issuer.pass(2);
    let store = &world.issuer.running.app.store;
    let now = world.issuer.running.app.clock.now();
    let mut tx = store.write().await.unwrap();
    let identity = identities::Identity {
        issuer: &world.idp.url,
        subject: "u-1",
    };
    identities::end_sign_ins(tx.conn(), identity, now)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let refused = world.send(&before, &[]).await;
    assert_refused(&refused, "invalid_grant", "signed you out");
    world.issuer.pass(2);
    world.good(&json!({})).await;
}

#[tokio::test]
async fn no_provider_speaks_for_its_people_unless_it_is_told_that_it_may() {
    let idp = Idp::start().await;
    let plain = idp.toml("corp", "");
    let issuer = Issuer::start_from(&plain, &[("IDP_SECRET", crate::idp::CLIENT_SECRET)]).await;
    let planner = Agent {
        grants: vec![Grant::JwtBearer],
        ..agent(CLIENT, AuthMethod::Secret, &[])
    };
    issuer.add(&planner).await.unwrap();
    let world = World { idp, issuer };
    let refused = world.send(&world.jag(&json!({})), &[]).await;
    assert_refused(&refused, "invalid_grant", "identity provider");
}

#[tokio::test]
async fn the_metadata_say_so_where_assertions_are_taken() {
    let metadata = async |issuer: &Issuer| -> Value {
        let url = format!("{}/.well-known/oauth-authorization-server", issuer.url);
        reqwest::get(url).await.unwrap().json().await.unwrap()
    };
    let world = World::start().await;
    let found = metadata(&world.issuer).await;
    assert_eq!(
        found["authorization_grant_profiles_supported"],
        json!(["urn:ietf:params:oauth:grant-profile:id-jag"])
    );
    let grants = found["grant_types_supported"].as_array().unwrap();
    assert!(grants.contains(&json!(JWT_BEARER)));
    let found = metadata(&Issuer::start().await).await;
    let grants = found["grant_types_supported"].as_array().unwrap();
    assert!(!grants.contains(&json!(JWT_BEARER)));
}
