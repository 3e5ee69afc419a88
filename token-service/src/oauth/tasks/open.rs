//! Opening a task: read strictly, judged by policy, put on record either way.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, header};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use writ_policy::{
    engine::{TASK, Unjudged},
    input::{AgentAuthn, AgentKind, Labels, SubjectKind},
};

use super::{Caller, TaskError};
use crate::{
    app::App,
    audit::{Kind, Record, Verdict, clip},
    clock::rfc3339,
    http::Peer,
    oauth::strict_json,
    registry::Status,
    secret::new_id,
    store::tasks::{self, Counts},
    task::{Task, Tools},
};

/// The longest purpose, in bytes.
const MAX_PURPOSE: usize = 500;
/// The most tools a task may name.
const MAX_TOOLS: usize = 128;
/// The longest name of a tool, in bytes.
const MAX_TOOL: usize = 256;
/// The longest life, in seconds.
const MAX_LIFE_S: u64 = 24 * 60 * 60;
/// The largest budget.
const MAX_CALLS: u64 = 1_000_000;
/// The most tasks of one subject and agent at a time, whatever policy says.
const MAX_OPEN: u64 = 100;

/// What an agent asks for.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    purpose: String,
    tools: Tools,
    expires_in: u64,
    #[serde(default)]
    max_calls: Option<u64>,
}

impl Asked {
    pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, TaskError> {
        let wrong = |problem: &str| Err(TaskError::Malformed(problem.to_owned()));
        let essence = headers
            .get(header::CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.split(';').next())
            .map(str::trim);
        if !essence.is_some_and(|t| t.eq_ignore_ascii_case("application/json")) {
            return wrong("the body must be application/json");
        }
        let Some(object) = strict_json::object(body) else {
            return wrong("the body must be one JSON object in which no name occurs twice");
        };
        let asked: Self = serde_json::from_value(object.into())
            .map_err(|e| TaskError::Malformed(format!("the body is malformed: {e}")))?;
        let purpose = asked.purpose.trim();
        if purpose.is_empty()
            || purpose.len() > MAX_PURPOSE
            || purpose.chars().any(char::is_control)
        {
            return wrong("purpose must have 1 to 500 bytes and no control characters");
        }
        let named: Vec<&String> = asked.tools.values().flatten().collect();
        let fits = |tool: &&String| (1..=MAX_TOOL).contains(&tool.len());
        if named.is_empty()
            || named.len() > MAX_TOOLS
            || !named.iter().all(fits)
            || asked.tools.values().any(Vec::is_empty)
        {
            return wrong("tools must name 1 to 128 tools by server, each of 1 to 256 bytes");
        }
        if !(1..=MAX_LIFE_S).contains(&asked.expires_in) {
            return wrong("expires_in must be 1 to 86400 seconds");
        }
        if asked
            .max_calls
            .is_some_and(|n| !(1..=MAX_CALLS).contains(&n))
        {
            return wrong("max_calls must be 1 to 1000000");
        }
        Ok(asked)
    }
}

/// What the policy is asked with.
#[derive(Serialize)]
struct Question<'a> {
    subject: Subject<'a>,
    agent: Agent<'a>,
    task: &'a Asked,
    counts: Counts,
    request: Circumstances<'a>,
}

#[derive(Serialize)]
struct Subject<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: SubjectKind,
    issuer: &'a str,
    groups: &'a [String],
    scopes: &'a [String],
}

#[derive(Serialize)]
struct Agent<'a> {
    id: &'a str,
    kind: AgentKind,
    authn: AgentAuthn,
    labels: &'a Labels,
    /// What its registration names, by server.
    tools: &'a BTreeMap<String, Vec<String>>,
}

#[derive(Serialize)]
struct Circumstances<'a> {
    time: &'a str,
    source_ip: &'a str,
}

/// What the policy answers: yes, with less than was asked for where it says so, or no.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    allow: bool,
    reason: Option<String>,
    tools: Option<Tools>,
    expires_in: Option<u64>,
    max_calls: Option<u64>,
}

/// Opens the task as policy approves it; nothing is answered before it is on record.
pub(super) async fn open(
    app: &App,
    caller: &Caller,
    asked: Asked,
    peer: Peer,
) -> Result<Task, TaskError> {
    for server in asked.tools.keys() {
        let known = caller.registry.server(server);
        if known.is_none_or(|server| server.status != Status::Approved) {
            let told = format!(
                "there is no server {:?} in use here; name servers by their ids",
                clip(server, 80)
            );
            return Err(TaskError::Malformed(told));
        }
    }
    let claims = &caller.accepted.claims;
    let now = app.clock.now();
    let mut tx = app.store.write().await?;
    let counts = tasks::counts(tx.conn(), &claims.subject, &claims.client_id, now).await?;
    let judged = judge(app, caller, &asked, counts, (&rfc3339(now), &peer.text()));
    let record = |mut record: Record| {
        record.subject_token_id = claims.id.as_deref().map(|id| clip(id, 128));
        record.source_ip = Some(peer.text());
        record.service_policy = Some(app.policy().revision().to_owned());
        record
    };
    match judged {
        Ok(approved) => {
            let task = approved.task(caller, asked, now);
            tasks::add(tx.conn(), &task).await?;
            tx.audit(&record(tasks::record(&task, "open", now))).await?;
            tx.commit().await?;
            metrics::counter!("writ_tasks_total", "result" => "opened").increment(1);
            Ok(task)
        }
        Err(reason) => {
            let mut refused = Record::new(Kind::Task, now);
            refused.method = Some("open".to_owned());
            refused.subject = Some(clip(&claims.subject, 512));
            refused.agent = Some(clip(&claims.client_id, 512));
            refused.decision = Some(Verdict::Deny);
            refused.reason = Some(clip(&reason, 1024));
            refused.detail = Some(json!({"purpose": asked.purpose, "tools": asked.tools}));
            tx.audit(&record(refused)).await?;
            tx.commit().await?;
            metrics::counter!("writ_tasks_total", "result" => "refused").increment(1);
            Err(TaskError::Refused(clip(&reason, 512)))
        }
    }
}

/// What was approved: never more than was asked for.
struct Approved {
    tools: Tools,
    expires_in: u64,
    max_calls: Option<u64>,
}

fn judge(
    app: &App,
    caller: &Caller,
    asked: &Asked,
    counts: Counts,
    (time, source_ip): (&str, &str),
) -> Result<Approved, String> {
    if counts.open >= MAX_OPEN {
        return Err(format!(
            "there are {MAX_OPEN} open tasks already: close one first"
        ));
    }
    let claims = &caller.accepted.claims;
    let question = Question {
        subject: Subject {
            id: &claims.subject,
            kind: claims.subject_kind,
            issuer: &claims.issuer,
            groups: &claims.groups,
            scopes: &claims.scopes,
        },
        agent: Agent {
            id: &claims.client_id,
            kind: match claims.subject_kind {
                SubjectKind::User => AgentKind::Delegated,
                SubjectKind::Workload => AgentKind::Autonomous,
            },
            authn: claims.agent_authn,
            labels: &caller.agent.labels,
            tools: &caller.agent.tools,
        },
        task: asked,
        counts,
        request: Circumstances { time, source_ip },
    };
    let answer: Answer = app
        .policy()
        .judge(TASK, &question)
        .map_err(|Unjudged { reason, .. }| reason)?;
    answer.narrow(asked)
}

impl Answer {
    fn narrow(self, asked: &Asked) -> Result<Approved, String> {
        if !self.allow {
            return Err(self
                .reason
                .unwrap_or_else(|| "the policy refuses this task".to_owned()));
        }
        let approved = |server: &str, tool: &String| {
            self.tools
                .as_ref()
                .is_none_or(|tools| tools.get(server).is_some_and(|named| named.contains(tool)))
        };
        let tools: Tools = asked
            .tools
            .iter()
            .map(|(server, tools)| {
                let kept = tools.iter().filter(|tool| approved(server, tool));
                (server.clone(), kept.cloned().collect::<Vec<_>>())
            })
            .filter(|(_, tools)| !tools.is_empty())
            .collect();
        let expires_in = self
            .expires_in
            .map_or(asked.expires_in, |s| s.min(asked.expires_in));
        let max_calls = match (self.max_calls, asked.max_calls) {
            (Some(most), Some(asked)) => Some(most.min(asked)),
            (most, asked) => most.or(asked),
        };
        if tools.is_empty() || expires_in == 0 || max_calls == Some(0) {
            return Err("the policy leaves nothing of this task".to_owned());
        }
        Ok(Approved {
            tools,
            expires_in,
            max_calls,
        })
    }
}

impl Approved {
    fn task(self, caller: &Caller, asked: Asked, now: Timestamp) -> Task {
        let claims = &caller.accepted.claims;
        let life = SignedDuration::from_secs(i64::try_from(self.expires_in).unwrap_or_default());
        Task {
            id: new_id(),
            txn: new_id(),
            subject: claims.subject.clone(),
            agent: claims.client_id.clone(),
            purpose: asked.purpose.trim().to_owned(),
            tools: self.tools,
            max_calls: self.max_calls,
            calls: 0,
            opened: now,
            expires: now.checked_add(life).unwrap_or(now),
            closed: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Asked, TaskError> {
        let headers = HeaderMap::from_iter([(
            header::CONTENT_TYPE,
            axum::http::HeaderValue::from_static("application/json"),
        )]);
        Asked::read(&headers, body.as_bytes())
    }

    const ASKED: &str = r#"{"purpose": "x", "tools": {"a": ["t", "u"], "b": ["v"]}, "expires_in": 60, "max_calls": 5}"#;

    #[test]
    fn what_is_asked_for_is_bounded() {
        assert!(read(ASKED).is_ok());
        let many = serde_json::to_string(&vec!["t"; 129]).unwrap();
        for bad in [
            "[]",
            "{}",
            &ASKED.replace("\"x\"", "\"\""),
            &ASKED.replace("\"x\"", "\"a\\u0007b\""),
            &ASKED.replace("\"x\"", &format!("\"{}\"", "x".repeat(501))),
            &ASKED.replace("[\"v\"]", "[]"),
            &ASKED.replace("[\"v\"]", "[\"\"]"),
            &ASKED.replace("[\"v\"]", &many),
            &ASKED.replace("\"b\"", "\"a\""),
            &ASKED.replace("60", "0"),
            &ASKED.replace("60", "86401"),
            &ASKED.replace("60", "-1"),
            &ASKED.replace("5}", "0}"),
            &ASKED.replace("5}", "1000001}"),
            &ASKED.replace("5}", "5, \"more\": 1}"),
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(Asked::read(&HeaderMap::new(), ASKED.as_bytes()).is_err());
    }

    #[test]
    fn policy_can_only_make_it_less() {
        let narrowed = |answer: &str| {
            let answer: Answer = serde_json::from_str(answer).unwrap();
            answer.narrow(&read(ASKED).unwrap())
        };
        let all = narrowed(r#"{"allow": true}"#).unwrap();
        assert_eq!(
            (all.tools.len(), all.expires_in, all.max_calls),
            (2, 60, Some(5))
        );
        let more = narrowed(
            r#"{"allow": true, "tools": {"a": ["t", "w"], "c": ["x"]}, "expires_in": 900, "max_calls": 900}"#,
        )
        .unwrap();
        assert_eq!(more.tools, [("a".to_owned(), vec!["t".to_owned()])].into());
        assert_eq!((more.expires_in, more.max_calls), (60, Some(5)));
        for nothing in [
            r#"{"allow": false, "reason": "no"}"#,
            r#"{"allow": true, "tools": {}}"#,
            r#"{"allow": true, "expires_in": 0}"#,
            r#"{"allow": true, "max_calls": 0}"#,
        ] {
            assert!(narrowed(nothing).is_err(), "{nothing}");
        }
    }
}
