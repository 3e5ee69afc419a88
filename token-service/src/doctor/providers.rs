//! The identity providers that people sign in at: there, who they say they are, and with keys.

use serde_json::Value;
use url::Url;

use super::{Finding, clock as clocks, issuer::get};
use crate::{
    clock::Clock,
    config::{Config, federation::Provider},
    http::outbound::Outbound,
};

const CHECK: &str = "providers";

pub(super) async fn examine(
    config: &Config,
    outbound: &Outbound,
    clock: &dyn Clock,
) -> Vec<Finding> {
    let mut found = Vec::new();
    for provider in &config.federation.providers {
        found.extend(one(provider, outbound, clock).await);
    }
    found
}

async fn one(provider: &Provider, outbound: &Outbound, clock: &dyn Clock) -> Vec<Finding> {
    let id = &provider.id;
    // OpenID Connect Discovery section 4.
    let place = format!(
        "{}/.well-known/openid-configuration",
        provider.issuer.trim_end_matches('/')
    );
    let fix = format!("see that {id} can be reached from here, and that its `issuer` is right");
    let problem = |what: String| Finding::problem(CHECK, format!("{id}: {what}"), fix.clone());
    let Ok(url) = Url::parse(&place) else {
        return vec![problem(format!("{place} is no URL"))];
    };
    let answer = match get(outbound, &url).await {
        Ok(answer) => answer,
        Err(what) => return vec![problem(format!("{url}: {what}"))],
    };
    let member = |name: &str| answer.body.get(name).and_then(Value::as_str);
    let mut found = Vec::new();
    found.extend(clocks::of_answer(
        &format!("provider {id}"),
        answer.date.as_deref(),
        clock.now(),
    ));
    if member("issuer") != Some(&provider.issuer) {
        let named = member("issuer").unwrap_or_default();
        found.push(problem(format!(
            "it names itself {named:?}, not {:?}",
            provider.issuer
        )));
        return found;
    }
    let keys = match member("jwks_uri").and_then(|uri| Url::parse(uri).ok()) {
        None => Err("its document names no `jwks_uri`".to_owned()),
        Some(url) => get(outbound, &url)
            .await
            .map_err(|what| format!("{url}: {what}")),
    };
    found.push(match keys {
        Err(what) => problem(what),
        Ok(keys)
            if keys
                .body
                .get("keys")
                .and_then(Value::as_array)
                .is_none_or(Vec::is_empty) =>
        {
            problem("it publishes no keys".to_owned())
        }
        Ok(_) => Finding::ok(CHECK, format!("{id}: there, with keys")),
    });
    found
}
