//! Revocation reaches what was derived from the token or grant that is taken back.

use jiff::Timestamp;
use serde_json::json;
use writ_token_service::{
    audit::Kind,
    secret,
    store::{grants, oauth},
};

use crate::harness::{Form, Service, call, refusal};

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_from_a_revoked_grant_or_token_ends_with_it() {
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    for whole_grant in [true, false] {
        let service = Service::start().await;
        let grant_id = secret::new_id();
        let mut claims = service.caller_claims();
        claims["grant_id"] = grant_id.clone().into();
        let jti = claims["jti"].as_str().unwrap().to_owned();
        let caller = service.sign(&claims);
        let minted = async |message| {
            let answer = service.exchange(&Form::new(&caller, message)).await;
            let answer: serde_json::Value = answer.json().await.unwrap();
            answer["access_token"].as_str().unwrap().to_owned()
        };
        let (single_use, discovery) = (minted(&call("echo")).await, minted(&list).await);
        for token in [&single_use, &discovery] {
            let told = service.introspect(&[("token", token)]).await;
            assert_eq!(told["active"], true);
        }

        // Another process takes it back.
        let elsewhere = service.elsewhere().await;
        let mut tx = elsewhere.write().await.unwrap();
        let now = Timestamp::now();
        if whole_grant {
            grants::end(tx.conn(), &grant_id, now).await.unwrap();
        } else {
            let until = grants::dead_by(now);
            oauth::revoke_token(tx.conn(), &jti, now, until)
                .await
                .unwrap();
        }
        tx.commit().await.unwrap();

        for token in [&single_use, &discovery] {
            for form in [
                vec![("token", token.as_str())],
                vec![("token", token.as_str()), ("consume", "true")],
            ] {
                let told = service.introspect(&form).await;
                assert_eq!(told, json!({"active": false}), "{whole_grant}");
            }
        }
        let rogue = service.records().await;
        let rogue = rogue.iter().find(|r| r.kind == Kind::Rogue).unwrap();
        assert_eq!(rogue.detail.as_ref().unwrap()["credential"], "revoked");
        let answer = service.exchange(&Form::new(&caller, &call("echo"))).await;
        assert_eq!(refusal(answer).await, (400, "invalid_grant".to_owned()));
    }
}
