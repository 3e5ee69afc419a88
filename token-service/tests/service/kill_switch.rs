//! What is revoked and who is locked out: at once, wherever the service is asked.

use jiff::{SignedDuration, Timestamp};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use writ_policy::stops::{Lockdown, Stops};
use writ_token_service::{
    audit::Kind,
    clock::{Clock, unix},
    secret,
    store::{StoreError, audit::Filter, stops::Revocation},
};

use crate::follower::Follower;
use crate::harness::{Form, GUARD, Service, call, refusal};

/// A service, a caller's token of ten seconds ago, and what was minted with it.
struct Stage {
    service: Service,
    caller: String,
    jti: String,
    grant_id: String,
    minted: String,
    txn: String,
}

/// A clock that stands.
#[derive(Debug)]
struct At(Timestamp);

impl Clock for At {
    fn now(&self) -> Timestamp {
        self.0
    }
}

fn seconds(s: i64) -> SignedDuration {
    SignedDuration::from_secs(s)
}

async fn stage() -> Stage {
    let service = Service::start().await;
    let mut tx = service.store().write().await.unwrap();
    sqlx::query("INSERT INTO users (name, password_hash, groups, status, created_at) VALUES ('alice', 'no password', '[]', 'approved', '')")
        .execute(tx.conn())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let mut claims = service.caller_claims();
    let (jti, grant_id) = (claims["jti"].as_str().unwrap().to_owned(), secret::new_id());
    claims["grant_id"] = grant_id.clone().into();
    claims["iat"] = (unix(Timestamp::now()) - 10).into();
    let caller = service.sign(&claims);
    let (minted, txn) = mint(&service, &caller).await;
    Stage {
        service,
        caller,
        jti,
        grant_id,
        minted,
        txn,
    }
}

async fn mint(service: &Service, caller: &str) -> (String, String) {
    let response = service.exchange(&Form::new(caller, &call("echo"))).await;
    let answer: Value = response.json().await.unwrap();
    let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
    (text("access_token"), text("txn"))
}

impl Stage {
    async fn revoke(&self, what: &Revocation, at: Timestamp) -> Result<(), StoreError> {
        // As the command does: from a process of its own.
        let elsewhere = self.service.elsewhere().await;
        elsewhere.revoke(what, Some("a drill"), &At(at)).await
    }

    async fn lock_down(&self, list: Option<Lockdown>) {
        let elsewhere = self.service.elsewhere().await;
        let now = Timestamp::now();
        elsewhere.lock_down(list.as_ref(), None, now).await.unwrap();
    }

    async fn consume(&self, token: &str) -> Value {
        let request = self
            .service
            .http
            .post(self.service.gateway_url("/gateway/v1/consume"))
            .basic_auth(GUARD, Some(&self.service.guard_secret));
        let asked = json!({"server": "ledger", "token": token, "source_ip": "192.0.2.7", "request_id": "r"});
        request
            .json(&asked)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    }

    async fn exchange(&self) -> Response {
        let form = Form::new(&self.caller, &call("echo"));
        self.service.exchange(&form).await
    }

    async fn stops(&self) -> Stops {
        let secret = &self.service.gateway_secret;
        let edge = Follower::up_to_date(&self.service, "edge", secret).await;
        edge.halt().stops
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_revoked_is_good_for_nothing_at_once() {
    type Of = fn(&Stage) -> Revocation;
    let cases: [(Of, bool); 5] = [
        (|s| Revocation::Token(s.jti.clone()), true),
        (|s| Revocation::Token(s.grant_id.clone()), true),
        // The caller's token is of many transactions.
        (|s| Revocation::Transaction(s.txn.clone()), false),
        (|_| Revocation::Subject("alice".to_owned()), true),
        (|_| Revocation::Agent("assistant".to_owned()), true),
    ];
    for (what, caller_too) in cases {
        let stage = stage().await;
        let what = what(&stage);
        let told = stage.service.introspect(&[("token", &stage.minted)]).await;
        assert_eq!(told["active"], true);
        stage.revoke(&what, Timestamp::now()).await.unwrap();

        let told = stage.service.introspect(&[("token", &stage.minted)]).await;
        assert_eq!(told, json!({"active": false}), "{what:?}");
        let told = stage.consume(&stage.minted).await;
        assert_eq!(told, json!({"active": false, "credential": "revoked"}));
        let answer = stage.exchange().await;
        if caller_too {
            assert_eq!(refusal(answer).await, (400, "invalid_grant".to_owned()));
        } else {
            assert_eq!(answer.status(), StatusCode::OK);
        }
        let filter = Filter {
            kind: Some(Kind::Admin),
            ..Filter::default()
        };
        let records = stage.service.store().newest_records(&filter, 100).await;
        let record = records.unwrap().pop().unwrap().record;
        assert_eq!(record.method.as_deref(), Some("revoke"));
        assert_eq!(record.target.as_deref(), Some(what.id()));
        assert_eq!(record.reason.as_deref(), Some("a drill"));
        assert_eq!(record.detail.unwrap()["what"], what.kind());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_issued_after_a_revocation_is_good() {
    for what in [
        Revocation::Subject("alice".to_owned()),
        Revocation::Agent("assistant".to_owned()),
    ] {
        let stage = stage().await;
        let before = Timestamp::now() - seconds(5);
        stage.revoke(&what, before).await.unwrap();
        let answer = stage.exchange().await;
        assert_eq!(refusal(answer).await, (400, "invalid_grant".to_owned()));
        let (minted, _) = mint(&stage.service, &stage.service.caller_token()).await;
        assert_eq!(stage.consume(&minted).await, json!({"active": true}));

        let stops = stage.stops().await;
        let until = [stops.subjects.get("alice"), stops.agents.get("assistant")];
        let until: Vec<_> = until.into_iter().flatten().collect();
        assert_eq!(until, [&unix(before)], "gateways know it, too");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_revoked_by_a_name_that_nobody_has() {
    let stage = stage().await;
    for what in [
        Revocation::Subject("alicia".to_owned()),
        Revocation::Agent("alice".to_owned()),
        Revocation::Session("nowhere".to_owned()),
    ] {
        let error = stage.revoke(&what, Timestamp::now()).await.unwrap_err();
        assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
    }
    assert_eq!(stage.exchange().await.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_lockdown_only_those_on_the_list_go_on_and_after_it_everybody() {
    let named = |name: &str| [name.to_owned()].into();
    let stage = stage().await;
    let (fresh, _) = mint(&stage.service, &stage.caller).await;
    for (list, goes_on) in [
        (Lockdown::default(), false),
        (
            Lockdown {
                subjects: named("bob"),
                ..Lockdown::default()
            },
            false,
        ),
        (
            Lockdown {
                subjects: named("alice"),
                servers: named("ledger"),
                ..Lockdown::default()
            },
            true,
        ),
        (
            Lockdown {
                subjects: named("alice"),
                servers: named("other"),
                ..Lockdown::default()
            },
            false,
        ),
    ] {
        stage.lock_down(Some(list.clone())).await;
        assert_eq!(stage.stops().await.lockdown, Some(list.clone()));
        let answer = stage.exchange().await;
        if goes_on {
            assert_eq!(answer.status(), StatusCode::OK, "{list:?}");
            continue;
        }
        assert_eq!(refusal(answer).await, (403, "access_denied".to_owned()));
        let told = stage.consume(&fresh).await;
        assert_eq!(told, json!({"active": false, "credential": "disabled"}));
        let told = stage.service.introspect(&[("token", &fresh)]).await;
        assert_eq!(told, json!({"active": false}));
    }
    stage.lock_down(None).await;
    assert_eq!(stage.stops().await.lockdown, None);
    assert_eq!(stage.exchange().await.status(), StatusCode::OK);
    assert_eq!(stage.consume(&fresh).await, json!({"active": true}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_ends_with_its_transaction() {
    let stage = stage().await;
    let url = stage.service.public_url("/oauth/tasks");
    let asked = json!({"purpose": "month's end", "tools": {"ledger": ["echo"]}, "expires_in": 600});
    let request = stage.service.http.post(url).bearer_auth(&stage.caller);
    let task: Value = request
        .json(&asked)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let id = task["task"].as_str().unwrap_or_else(|| panic!("{task}"));
    let found = async || {
        let found = stage.service.store().task(id, Timestamp::now()).await;
        found.unwrap().unwrap().task
    };
    let what = Revocation::Transaction(found().await.txn);
    stage.revoke(&what, Timestamp::now()).await.unwrap();
    assert!(found().await.closed.is_some());
}
