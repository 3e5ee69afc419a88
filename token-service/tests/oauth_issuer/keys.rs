//! The published keys over time.

use std::time::Duration;

use serde_json::Value;

use crate::issuer::{CONFIDENTIAL, Issuer, RESOURCE, SECRET};

async fn token(issuer: &Issuer) -> String {
    let form = [("grant_type", "client_credentials"), ("resource", RESOURCE)];
    let (status, answer) = issuer.token_with(Some((CONFIDENTIAL, SECRET)), &form).await;
    assert_eq!(status, 200, "{answer}");
    answer["access_token"].as_str().unwrap().to_owned()
}

async fn published(issuer: &Issuer) -> Vec<String> {
    let jwks: Value = reqwest::get(format!("{}/oauth/jwks", issuer.url))
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let keys = jwks["keys"].as_array().unwrap();
    keys.iter()
        .map(|k| k["kid"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn tokens_of_the_old_key_are_good_until_they_expire_and_then_the_key_goes() {
    let issuer = Issuer::start().await;
    let keys = &issuer.running.app.keys;
    let schedule = issuer.running.app.config.keys.schedule;
    let kid = keys.kid().unwrap();
    let next = async |time: Duration| {
        issuer.pass(i64::try_from(time.as_secs()).unwrap());
        issuer.running.app.tend_keys().await.unwrap();
    };

    next(schedule.rotate_every - schedule.announce_ahead).await;
    assert_eq!(published(&issuer).await.len(), 6, "announced ahead");
    next(schedule.announce_ahead - Duration::from_secs(60)).await;
    let old = token(&issuer).await;
    assert_eq!(
        jsonwebtoken::decode_header(&old).unwrap().kid,
        Some(kid.clone())
    );
    next(Duration::from_secs(60)).await;
    let new = token(&issuer).await;
    assert_ne!(
        jsonwebtoken::decode_header(&new).unwrap().kid,
        Some(kid.clone())
    );

    // An independent library, from what is published.
    next(issuer.running.app.config.tokens.longest_life()).await;
    assert_eq!(issuer.claims(&old).await["client_id"], CONFIDENTIAL);
    assert_eq!(issuer.claims(&new).await["client_id"], CONFIDENTIAL);
    next(schedule.overlap).await;
    assert!(!published(&issuer).await.contains(&kid));
    assert_eq!(published(&issuer).await.len(), 3);
}
