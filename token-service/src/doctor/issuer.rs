//! The issuer as everybody else sees it: under its public URL.

use std::collections::BTreeSet;

use reqwest::header;
use serde_json::Value;
use url::Url;

use super::{Finding, clock as clocks};
use crate::{
    clock::Clock,
    config::Config,
    http::outbound::{self, Outbound},
    oauth::metadata::{self, Endpoints},
};

const CHECK: &str = "issuer";
/// The most that a metadata document or a key set may hold.
const MOST: usize = 256 * 1024;

pub(super) async fn examine(
    config: &Config,
    outbound: &Outbound,
    clock: &dyn Clock,
) -> Vec<Finding> {
    let Ok(url) = metadata_url(&config.issuer) else {
        return vec![Finding::problem(
            CHECK,
            format!("{} has no place for its metadata", config.issuer),
            "correct `issuer`",
        )];
    };
    match get(outbound, &url).await {
        Err(problem) => vec![Finding::problem(
            CHECK,
            format!("{url}: {problem}"),
            "see that `writ serve` runs, and that whatever is in front of it (DNS, TLS, proxy) leads there",
        )],
        Ok(answer) => {
            let mut found = vec![same(&answer.body, &metadata::document(config))];
            found.extend(clocks::of_answer(
                "the issuer",
                answer.date.as_deref(),
                clock.now(),
            ));
            found.push(keys(outbound, &answer.body).await);
            found
        }
    }
}

fn metadata_url(issuer: &str) -> Result<Url, url::ParseError> {
    Url::parse(issuer)?.join(&Endpoints::of(issuer).metadata_path())
}

/// A document that was fetched.
pub(super) struct Answer {
    pub(super) body: Value,
    pub(super) date: Option<String>,
}

pub(super) async fn get(outbound: &Outbound, url: &Url) -> Result<Answer, String> {
    let response = outbound.trusted().get(url.clone()).send().await;
    let response = response.map_err(|e| innermost(&e))?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(format!("answered {}", response.status()));
    }
    let date = response.headers().get(header::DATE);
    let date = date.and_then(|v| v.to_str().ok()).map(str::to_owned);
    let body = outbound::read(response, MOST)
        .await
        .map_err(|e| e.to_string())?;
    let body = serde_json::from_slice(&body).map_err(|e| format!("answered no JSON: {e}"))?;
    Ok(Answer { body, date })
}

/// What really went wrong with a request.
pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => innermost(source),
        None => error.to_string(),
    }
}

fn same(theirs: &Value, ours: &Value) -> Finding {
    if theirs == ours {
        return Finding::ok(
            CHECK,
            "answers under its public URL, with this configuration",
        );
    }
    if theirs.get("issuer") != ours.get("issuer") {
        return Finding::problem(
            CHECK,
            format!(
                "names itself {} there",
                theirs.get("issuer").unwrap_or(&Value::Null)
            ),
            "somebody else answers there, or `issuer` is not what people use: make them the same, to the character",
        );
    }
    let names = |of: &Value| -> BTreeSet<String> {
        of.as_object()
            .map(|o| o.keys().cloned().collect())
            .unwrap_or_default()
    };
    let differ: Vec<String> = names(theirs)
        .union(&names(ours))
        .filter(|name| theirs.get(name.as_str()) != ours.get(name.as_str()))
        .cloned()
        .collect();
    Finding::warning(
        CHECK,
        format!(
            "its metadata differs from this configuration in: {}",
            differ.join(", ")
        ),
        "use the version and the configuration that the service runs with",
    )
}

async fn keys(outbound: &Outbound, metadata: &Value) -> Finding {
    let fix = "see that `jwks_uri` leads to this service";
    let uri = metadata.get("jwks_uri").and_then(Value::as_str);
    let Some(url) = uri.and_then(|uri| Url::parse(uri).ok()) else {
        return Finding::problem(CHECK, "its metadata names no `jwks_uri`", fix);
    };
    match get(outbound, &url).await {
        Err(problem) => Finding::problem(CHECK, format!("{url}: {problem}"), fix),
        Ok(answer) => match writ_core::token::KeySet::from_jwks(&answer.body) {
            Ok(_) => Finding::ok(CHECK, "publishes its keys"),
            Err(error) => Finding::problem(CHECK, format!("{url}: {error}"), fix),
        },
    }
}
