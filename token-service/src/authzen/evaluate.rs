//! The decision. The service's own registry and directory say who subject, agent and server are; the request says what is
//! asked for and, since there is no token here, what the token said.

use std::sync::Arc;

use axum::{body::Bytes, http::HeaderMap};
use jiff::Timestamp;
use serde_json::{Value, json};
use writ_core::{
    message::{Message, content_digest},
    token::is_read,
};
use writ_policy::{
    decision::{Decision, Obligations},
    input::{self, Document, Input, Mcp, RequestContext, SubjectKind},
};

use super::{
    REQUEST_ID,
    answer::{Answer, AuthZenError, Denial},
    asker::Asker,
    message,
    request::{Question, id_of},
    standing::{self, Token},
};
use crate::{
    app::App,
    audit::{Kind, Record, Verdict, clip},
    clock::unix,
    policy::Policy,
    registry::{Agent, Registry, Server, Status},
    secret,
    store::{
        StoreError,
        reported::{Report, Reported},
        users,
    },
    task,
};

/// Decides all that one request asks for, as of one moment.
pub(super) struct Evaluator<'a> {
    app: &'a App,
    asker: &'a Asker,
    registry: Arc<Registry>,
    policy: Arc<Policy>,
    now: Timestamp,
    request_id: String,
    digest: String,
    records: Vec<Record>,
}

/// Why it is not allowed, or not known.
enum Refused {
    Denied(Denial),
    Failed(StoreError),
}

impl From<Denial> for Refused {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

/// Who wants to do it.
struct Who {
    subject: Document<input::Subject>,
    kind: SubjectKind,
    agent: Arc<Agent>,
}

impl<'a> Evaluator<'a> {
    pub(super) async fn new(
        app: &'a App,
        asker: &'a Asker,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Self, StoreError> {
        let given = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
        Ok(Self {
            app,
            asker,
            registry: app.current_registry().await?,
            policy: app.policy(),
            now: app.clock.now(),
            request_id: given.map_or_else(secret::new_id, |id| clip(id, 128)),
            digest: content_digest(body),
            records: Vec::new(),
        })
    }

    /// Decides. What is decided must be [`Self::on_record`] before it is told.
    pub(super) async fn evaluate(
        &mut self,
        question: &Question<'_>,
    ) -> Result<Answer, AuthZenError> {
        let mut record = self.record(question);
        let answer = match self.decide(question, &mut record).await {
            Ok((reason, obligations)) => {
                record.decision = Some(Verdict::Allow);
                record.reason = reason.as_deref().map(|reason| clip(reason, 1024));
                Answer::allow(reason.as_deref(), &obligations)
            }
            Err(Refused::Denied(denial)) => {
                record.decision = Some(Verdict::Deny);
                record.reason = Some(clip(&denial.reason, 1024));
                record.detail = Some(match denial.scopes.is_empty() {
                    true => json!({"cause": denial.cause}),
                    false => json!({"cause": denial.cause, "scopes": denial.scopes}),
                });
                Answer::deny(&denial, self.policy.revision(), &record.id)
            }
            Err(Refused::Failed(error)) => return Err(error.into()),
        };
        let result = if answer.allows() { "allow" } else { "deny" };
        metrics::counter!("writ_access_evaluations_total", "result" => result).increment(1);
        self.records.push(record);
        Ok(answer)
    }

    /// Puts what was decided on record.
    pub(super) async fn on_record(self) -> Result<(), StoreError> {
        let reported = |record| (None, Reported::Record(Box::new(record)));
        let report = Report {
            events: self.records.into_iter().map(reported).collect(),
            now: unix(self.now),
        };
        self.app.store.report(report).await
    }

    /// What is known before anything is decided.
    fn record(&self, question: &Question<'_>) -> Record {
        let mut record = Record::new(Kind::Evaluation, self.now);
        record.gateway = Some(self.asker.name());
        record.subject = Some(clip(question.subject.id, 512));
        record.agent = question.context_id("agent").map(|id| clip(id, 512));
        record.method = Some(clip(question.action.name, 256));
        record.target = Some(clip(question.resource.id, 2048));
        record.service_policy = Some(self.policy.revision().to_owned());
        record.content_digest = Some(self.digest.clone());
        record.request_id = Some(self.request_id.clone());
        record.source_ip = question.context_text("source_ip").map(|ip| clip(ip, 64));
        record.task = question.context_id("task").map(|id| clip(id, 128));
        record
    }

    async fn decide(
        &self,
        question: &Question<'_>,
        record: &mut Record,
    ) -> Result<(Option<String>, Obligations), Refused> {
        let server = self.server(question)?;
        record.server = Some(server.id.to_string());
        let who = self.who(question, server).await?;
        record.agent = Some(who.agent.id.to_string());
        let message = message::about(question, server)?;
        record.method = Some(clip(message.method(), 256));
        record.target = message.target().map(|target| clip(target, 2048));
        let task = self.task(question, server, &who, &message).await?;
        let headers = headers(question);
        let input = Input {
            subject: &who.subject,
            agent: &who.agent.document(who.kind, who.agent.auth.authn(), server),
            server: &self.registry.server_document(server),
            mcp: &Mcp {
                pin: message.tool().and_then(|tool| server.hints(tool)),
                ..message.mcp(question.context_text("protocol_version"), None)
            },
            task: task.as_ref(),
            request: &RequestContext {
                id: &self.request_id,
                time: &record.time,
                source_ip: question.context_text("source_ip").unwrap_or_default(),
                headers: &headers,
            },
        };
        match self.policy.decide(input.to_value()) {
            Decision::Allow {
                reason,
                obligations,
            } => Ok((reason, obligations)),
            Decision::Deny {
                cause,
                reason,
                scopes,
            } => Err(Refused::Denied(Denial {
                cause: json!(cause),
                reason,
                scopes,
            })),
        }
    }

    /// The server that it is about, where that is the asker's business.
    fn server(&self, question: &Question<'_>) -> Result<&Arc<Server>, Denial> {
        let resource = &question.resource;
        let properties = resource.properties;
        let in_properties = properties.and_then(|all| id_of(all.get("server")?));
        let as_resource = message::is_server(resource.kind).then_some(resource.id);
        let named = as_resource.or(in_properties).or(self.asker.only_server());
        let named = named.ok_or_else(|| {
            Denial::new(
                "server",
                "resource.properties.server must name the server, by its id or its resource identifier",
            )
        })?;
        let find = |name: &str| {
            let found = self.registry.server(name);
            let found = found.or_else(|| self.registry.server_by_resource(name))?;
            self.asker.is_for(found.id.as_str()).then_some(found)
        };
        let server = find(named)
            .ok_or_else(|| Denial::new("server", "who asks has no server of that name"))?;
        let is_same = |name| find(name).is_some_and(|also| also.id == server.id);
        if !in_properties.is_none_or(is_same) {
            let told = "resource.id and resource.properties.server are not the same server";
            return Err(Denial::new("server", told));
        }
        Ok(server)
    }

    /// Who wants to do it, in good standing.
    async fn who(&self, question: &Question<'_>, server: &Server) -> Result<Who, Refused> {
        let (id, token) = (question.subject.id, Token(question.subject.properties));
        let registered = self.registry.agent(id);
        let kind = match (question.subject.kind, registered) {
            ("user", _) | ("identity", None) => SubjectKind::User,
            ("workload", _) | ("identity", Some(_)) => SubjectKind::Workload,
            (other, _) => {
                let told = format!(
                    "no subject is of the type {other:?}: it is user, workload or identity"
                );
                return Err(Denial::new("subject", told).into());
            }
        };
        let own = (kind == SubjectKind::Workload).then_some(id);
        let named = question.context_id("agent").or(own).or(self.asker.agent());
        let named = named.ok_or_else(|| {
            Denial::new(
                "agent",
                "context.agent must name the agent, by its client_id",
            )
        })?;
        if let Some(asking) = self.asker.agent()
            && (kind, id, named) != (SubjectKind::Workload, asking, asking)
        {
            let told = "an agent may ask about itself only, as subject of the type workload";
            return Err(Denial::new("agent", told).into());
        }
        let agent = standing::check(
            &self.registry,
            server,
            self.registry.agent(named),
            id,
            token,
        )?;
        let groups = match kind {
            SubjectKind::User => self.groups(id).await?,
            SubjectKind::Workload if registered.is_some_and(|a| a.status == Status::Approved) => {
                Vec::new()
            }
            SubjectKind::Workload => {
                let told = "the subject is no agent that is registered and approved";
                return Err(Denial::new("subject", told).into());
            }
        };
        let claims = question.subject.properties.into_iter().flatten();
        let claims = claims.filter(|(name, _)| !is_read(name));
        let subject = Document::from(&input::Subject {
            id: id.to_owned(),
            kind,
            issuer: self.app.config.issuer.clone(),
            groups,
            scopes: token.scopes(),
            claims: claims
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        });
        Ok(Who {
            subject,
            kind,
            agent,
        })
    }

    /// The groups that a user is in, as of now.
    async fn groups(&self, name: &str) -> Result<Vec<String>, Refused> {
        let mut conn = self.app.store.read().await?;
        let user = users::find(&mut conn, name).await?;
        match user.filter(users::User::is_active) {
            Some(user) => Ok(user.groups),
            None => {
                Err(Denial::new("subject", "no user of this name is known here, and active").into())
            }
        }
    }

    /// The task that it would belong to, where it would.
    async fn task(
        &self,
        question: &Question<'_>,
        server: &Server,
        who: &Who,
        message: &Message,
    ) -> Result<Option<Document<input::Task>>, Refused> {
        let Some(id) = question.context_id("task") else {
            return Ok(None);
        };
        let outside = |why: task::Outside| Denial::new("task", why.to_string());
        let found = self.app.store.task(id, self.now).await?;
        let found = found.ok_or_else(|| outside(task::Outside::Unknown))?;
        let asked = task::Asked {
            subject: question.subject.id,
            agent: who.agent.id.as_str(),
            server: server.id.as_str(),
            method: message.method(),
            target: message.target(),
            travel: message.travel(),
        };
        found.task.confine(&asked, self.now).map_err(outside)?;
        if self.registry.is_revoked(&found.task.txn) {
            let told = "the task's transaction has been revoked: open another task";
            return Err(Denial::new("task", told).into());
        }
        Ok(Some(found.task.document(found.calls_today)))
    }
}

/// The headers of the request that is being decided, names in lower case.
fn headers(question: &Question<'_>) -> Vec<(String, String)> {
    let all = question.context.and_then(|context| context.get("headers"));
    let all = all.and_then(Value::as_object).into_iter().flatten();
    all.filter_map(|(name, value)| Some((name.to_ascii_lowercase(), value.as_str()?.to_owned())))
        .collect()
}
