//! Agents that go on working, a thief, and what all of them were told.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use writ_tests::exchange;
use writ_tests::guard::GUARD;
use writ_tests::ledger::tap::Tap;
use writ_tests::mcp::{self, call_message};
use writ_tests::registrations::{GATEWAY, SERVER};
use writ_tests::wait::{PATIENCE, until};

use crate::stage::Stage;

/// Agents that call through the gateway.
const AGENTS: usize = 4;

/// How long somebody waits who could not do something.
const PAUSE: Duration = Duration::from_millis(10);

/// What was answered: each must be on record.
#[derive(Debug, Default)]
pub struct Told {
    /// Calls that were answered with a result.
    pub results: usize,
    /// The requests that a policy refused.
    pub refused: Vec<String>,
    /// Ids of tokens that were handed out.
    pub minted: Vec<String>,
    /// Ids of tokens that a service said had not been used before, once for each time it did.
    pub spent: Vec<String>,
    /// Ids of tokens whose calls' ends a service has taken note of.
    pub ended: Vec<String>,
    /// Calls that could not be done just then.
    pub failed: usize,
    /// Used tokens that did not get past the guard.
    pub thefts: usize,
}

/// See the module.
pub struct Load {
    told: Arc<Mutex<Told>>,
    over: Arc<AtomicBool>,
    working: JoinSet<Result<()>>,
}

/// What everybody needs to know.
#[derive(Clone)]
struct Worker {
    http: reqwest::Client,
    gateway: String,
    guard: String,
    services: [String; 2],
    gateway_secret: String,
    guard_secret: String,
    resource: String,
    caller: String,
    tap: Tap,
    told: Arc<Mutex<Told>>,
    over: Arc<AtomicBool>,
}

impl Load {
    /// Everybody begins.
    pub async fn start(stage: &Stage) -> Result<Self> {
        let writ = &stage.replicas.deployment;
        let at = |port: u16| format!("http://127.0.0.1:{port}");
        let (told, over) = (Arc::default(), Arc::default());
        let worker = Worker {
            http: writ.http.clone(),
            gateway: writ.url(),
            guard: stage.guard.url("/mcp"),
            services: [
                at(writ.service.gateway_port()),
                at(stage.replicas.other.gateway_port()),
            ],
            gateway_secret: writ.registered.gateway_secret.clone(),
            guard_secret: stage.guard_secret.clone(),
            resource: writ.registered.resource.clone(),
            caller: writ.batch_token().await?,
            tap: writ.ledger.tap().clone(),
            told: Arc::clone(&told),
            over: Arc::clone(&over),
        };
        let mut working = JoinSet::new();
        for _ in 0..AGENTS {
            working.spawn(worker.clone().calls());
        }
        for service in 0..2 {
            working.spawn(worker.clone().mints(service));
        }
        working.spawn(worker.steals());
        Ok(Self {
            told,
            over,
            working,
        })
    }

    /// Waits until so many more calls were answered.
    pub async fn goes_on(&self, calls: usize) -> Result<()> {
        let before = lock(&self.told).results;
        until(&format!("{calls} more answers"), PATIENCE, async || {
            (lock(&self.told).results >= before + calls).then_some(())
        })
        .await
    }

    /// How far it is.
    pub fn summary(&self) -> String {
        let told = lock(&self.told);
        format!(
            "{} results, {} refused, {} minted, {} spent, {} ended, {} thefts, {} failed",
            told.results,
            told.refused.len(),
            told.minted.len(),
            told.spent.len(),
            told.ended.len(),
            told.thefts,
            told.failed
        )
    }

    /// Everybody stops; what they were told.
    pub async fn end(mut self) -> Result<Told> {
        self.over.store(true, Ordering::SeqCst);
        while let Some(ended) = self.working.join_next().await {
            ended??;
        }
        let told = std::mem::take(&mut *lock(&self.told));
        ensure!(!told.refused.is_empty() && !told.spent.is_empty() && !told.ended.is_empty());
        ensure!(told.thefts > 0, "the thief tried nothing");
        Ok(told)
    }
}

fn lock(told: &Mutex<Told>) -> MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Worker {
    fn told(&self) -> MutexGuard<'_, Told> {
        lock(&self.told)
    }

    /// Something could not be done: it is tried again in a moment.
    async fn failed(&self) {
        self.told().failed += 1;
        tokio::time::sleep(PAUSE).await;
    }

    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::SeqCst)
    }

    /// Calls a tool that is allowed, and now and then one that is not.
    async fn calls(self) -> Result<()> {
        let (allowed, refused) = ("getAccount", "transfer");
        for n in 0_u64.. {
            if !self.goes_on() {
                break;
            }
            let tool = if n % 5 == 4 { refused } else { allowed };
            let arguments = json!({"id": "ops"});
            let call = mcp::post_call(&self.http, &self.gateway, &self.caller, tool, &arguments);
            let answer = text(call).await;
            let mut told = self.told();
            match answer.map(|(status, text)| (status, mcp::message_in(&text).unwrap_or_default()))
            {
                Some((StatusCode::OK, message)) if message["result"].is_object() => {
                    ensure!(tool == allowed, "{message}");
                    told.results += 1;
                }
                Some((_, message)) if message["error"]["data"]["type"] == "policy_denied" => {
                    ensure!(tool == refused, "{message}");
                    let request = &message["error"]["data"]["request_id"];
                    told.refused
                        .push(request.as_str().unwrap_or_default().to_owned());
                }
                _ => {
                    drop(told);
                    self.failed().await;
                }
            }
        }
        Ok(())
    }

    /// Has a token minted at one service, spends it at both at once, and reports the end of a call.
    async fn mints(self, service: usize) -> Result<()> {
        let [here, there] = if service == 0 {
            [&self.services[0], &self.services[1]]
        } else {
            [&self.services[1], &self.services[0]]
        };
        let message = call_message("getAccount", &json!({"id": "ops"})).to_string();
        while self.goes_on() {
            let form = exchange::form(&self.caller, SERVER, &self.resource, &message)?;
            let asked = self.http.post(format!("{here}/oauth/token"));
            let asked = asked.basic_auth(GATEWAY, Some(&self.gateway_secret));
            let Some(answer) = json_of(asked.form(&form)).await else {
                self.failed().await;
                continue;
            };
            let (Some(token), Some(id)) = (answer["access_token"].as_str(), answer["jti"].as_str())
            else {
                self.failed().await;
                continue;
            };
            self.told().minted.push(id.to_owned());
            let (one, two) = tokio::join!(self.spend(here, token), self.spend(there, token));
            for spent in [one, two] {
                if spent {
                    self.told().spent.push(id.to_owned());
                }
            }
            let outcome = json!({"events": [{"type": "outcome", "token_id": id, "request_id": "soak",
                "time": "2026-11-23T18:00:00Z", "status": 200, "result": "ok", "duration_us": 1500,
                "request_bytes": 10, "response_bytes": 20}]});
            let report = self.http.post(format!("{here}/gateway/v1/events"));
            let report = report.basic_auth(GATEWAY, Some(&self.gateway_secret));
            if let Some((StatusCode::NO_CONTENT, _)) = text(report.json(&outcome)).await {
                self.told().ended.push(id.to_owned());
            }
        }
        Ok(())
    }

    async fn spend(&self, at: &str, token: &str) -> bool {
        let asked = json!({"server": SERVER, "token": token, "source_ip": "198.51.100.9", "request_id": "soak"});
        let request = self.http.post(format!("{at}/gateway/v1/consume"));
        let request = request.basic_auth(GUARD, Some(&self.guard_secret));
        json_of(request.json(&asked))
            .await
            .is_some_and(|answer| answer["active"] == true)
    }

    /// Presents at the guard what has reached the server before.
    async fn steals(self) -> Result<()> {
        while self.goes_on() {
            let Some(heard) = self.tap.last_call("getAccount") else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let token = heard.bearer().unwrap_or_default();
            let call = mcp::post_call(&self.http, &self.guard, token, "getAccount", &json!({}));
            let Some((status, text)) = text(call.body(heard.body.clone())).await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            ensure!(!status.is_success(), "a used token was let in: {text}");
            self.told().thefts += 1;
        }
        Ok(())
    }
}

/// The answer, where there is a whole one.
async fn text(request: reqwest::RequestBuilder) -> Option<(StatusCode, String)> {
    let answer = request.send().await.ok()?;
    Some((answer.status(), answer.text().await.ok()?))
}

/// The answer's JSON, where it is one of success.
async fn json_of(request: reqwest::RequestBuilder) -> Option<Value> {
    let (status, text) = text(request).await?;
    if status.is_success() {
        serde_json::from_str(&text).ok()
    } else {
        None
    }
}
