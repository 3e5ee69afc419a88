//! The decision's input: who (user and agent), what (server, method, tool, arguments) and context.
//!
//! The serialised form of [`Input`] is the `input` document that policies see.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::{Arc, LazyLock};

use regorus::Value;
use regorus::value::Object;
use serde::{Deserialize, Serialize};

use crate::pin::Hints;

/// Free-form labels from a registration.
pub type Labels = BTreeMap<String, String>;

/// On whose authority the call is made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Subject {
    /// The user's id, or the agent's own where no user is involved (`sub`, RFC 7519 section 4.1.2).
    pub id: String,
    /// A person, or a workload acting for itself.
    #[serde(rename = "type")]
    pub kind: SubjectKind,
    /// Who vouches for the subject (`iss`).
    pub issuer: String,
    /// Directory groups and roles.
    pub groups: Vec<String>,
    /// Scopes of the caller's token (RFC 9068 section 2.2.3).
    pub scopes: Vec<String>,
    /// The other claims of the caller's token.
    pub claims: serde_json::Map<String, serde_json::Value>,
}

/// What kind of principal the subject is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubjectKind {
    /// A person.
    User,
    /// A program with an identity of its own.
    Workload,
}

/// The agent that makes the call: the OAuth client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// The OAuth `client_id`.
    pub id: String,
    /// Whether a user stands behind this call.
    pub kind: AgentKind,
    /// How well the agent proved who it is.
    pub authn: AgentAuthn,
    /// Where its registration stands.
    pub status: Status,
    /// Labels from its registration.
    pub labels: Labels,
    /// The tools its registration names on the server being called.
    pub tools: Vec<String>,
}

/// Whether a user stands behind an agent's call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentKind {
    /// Acts for a user.
    Delegated,
    /// Acts for itself.
    Autonomous,
}

/// How an agent authenticated when it got the token it calls with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentAuthn {
    /// A public client (PKCE only).
    None,
    /// A shared secret (`client_secret_basic`).
    Secret,
    /// A private key (`private_key_jwt`, RFC 7523).
    Key,
    /// An attested workload identity.
    Workload,
}

/// Where a registration stands. Everything but `Approved` is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// In use.
    Approved,
    /// Waiting for a person.
    Pending,
    /// Switched off.
    Disabled,
}

/// The MCP server the call is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// The id in the registry.
    pub id: String,
    /// The resource identifier callers' tokens are for (RFC 8707).
    pub resource: String,
    /// Labels from its registration.
    pub labels: Labels,
}

/// What the message asks for.
#[derive(Clone, Debug, Default)]
pub struct Mcp<'a> {
    /// The MCP protocol version the request names, if any.
    pub version: Option<&'a str>,
    /// The JSON-RPC method; `stream/open` and `session/close` for what has no body; `response/` and the method of the
    /// question for a client's answer to a server.
    pub method: &'a str,
    /// `params.name` of `tools/call`.
    pub tool: Option<&'a str>,
    /// What the approved annotations of the tool say; none where it has no pin, or is not defined as it was approved.
    pub pin: Option<Hints>,
    /// `params.arguments` of `tools/call` and `prompts/get`.
    pub arguments: Option<&'a Value>,
    /// `params.name` of `prompts/get`.
    pub prompt: Option<&'a str>,
    /// `params.uri` of the `resources/` methods.
    pub resource_uri: Option<&'a str>,
    /// `params.taskId` of the `tasks/` methods.
    pub task_id: Option<&'a str>,
    /// `params.inputResponses`: what a client answers when it repeats a request that a server had questions about
    /// (MCP 2026-07-28).
    pub input_responses: Option<&'a Value>,
    /// What a client answers a question of the server's with: an object with its `result` or its `error` (MCP 2025-11-25).
    pub answer: Option<&'a Value>,
    /// The MCP session, where the request names one: a name that stays the same, and is neither the server's id nor the
    /// client's.
    pub session: Option<&'a str>,
    /// The request of the client's during which the server asks; none where the client asks.
    pub during: Option<During<'a>>,
}

/// The client's request during which a server asks the client something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct During<'a> {
    /// Its method.
    pub method: &'a str,
    /// The tool, prompt, URI or task that it is about.
    pub target: Option<&'a str>,
}

/// The circumstances of the request.
#[derive(Clone, Debug)]
pub struct RequestContext<'a> {
    /// The request's id at the gateway.
    pub id: &'a str,
    /// When the request came (RFC 3339, UTC).
    pub time: &'a str,
    /// The caller's address, empty where it is not known.
    pub source_ip: &'a str,
    /// The request headers that the configuration shows to policies, names in lower case.
    pub headers: &'a [(String, String)],
}

/// The task that a call belongs to. The filter knows its id only; the token service knows the rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Task {
    /// What the service named it.
    pub id: String,
    /// How it stands, this call not counted.
    #[serde(flatten)]
    pub standing: Option<TaskStanding>,
}

/// How a task stands at the token service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TaskStanding {
    /// What the agent declared it for.
    pub purpose: String,
    /// When it ends (RFC 3339, UTC).
    pub expires: String,
    /// Its calls so far.
    pub calls: u64,
    /// The most calls it may have, where that is limited.
    pub max_calls: Option<u64>,
    /// The calls of this subject and agent in all their tasks since midnight UTC: a new task resets nothing.
    pub calls_today: u64,
}

/// Everything a decision is asked with.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// On whose authority.
    pub subject: &'a Document<Subject>,
    /// By which agent.
    pub agent: &'a Document<Agent>,
    /// On which server.
    pub server: &'a Document<Server>,
    /// What.
    pub mcp: &'a Mcp<'a>,
    /// Within which task, if any.
    pub task: Option<&'a Document<Task>>,
    /// In which circumstances.
    pub request: &'a RequestContext<'a>,
}

/// A part of the input in the engine's own form, built once and shared by many decisions.
#[derive(Clone, Debug)]
pub struct Document<T> {
    value: Value,
    of: PhantomData<fn() -> T>,
}

impl<T: Serialize> From<&T> for Document<T> {
    fn from(part: &T) -> Self {
        // Plain structs of strings, lists and maps with string keys: there is nothing that cannot be converted,
        // and a part that is missing fails closed, because no rule can match it.
        let value = serde_json::to_value(part).map_or(Value::Undefined, Value::from);
        Self {
            value,
            of: PhantomData,
        }
    }
}

/// An [`Agent`] put together from parts, some of them in the engine's own form already.
#[derive(Clone, Copy, Debug)]
pub struct AgentParts<'a> {
    /// See [`Agent::id`].
    pub id: &'a str,
    /// See [`Agent::kind`].
    pub kind: AgentKind,
    /// See [`Agent::authn`].
    pub authn: AgentAuthn,
    /// See [`Agent::labels`].
    pub labels: &'a Value,
    /// See [`Agent::tools`].
    pub tools: &'a Value,
}

impl AgentParts<'_> {
    /// The document of an agent whose registration is [`Status::Approved`]; no other is ever asked about.
    #[must_use]
    pub fn approved(&self) -> Document<Agent> {
        let keys = &*KEYS;
        let value = object([
            (&keys.authn, keys.agent_authn(self.authn).clone()),
            (&keys.id, Value::from(self.id)),
            (&keys.kind, keys.agent_kind(self.kind).clone()),
            (&keys.labels, self.labels.clone()),
            (&keys.status, keys.approved.clone()),
            (&keys.tools, self.tools.clone()),
        ]);
        Document {
            value,
            of: PhantomData,
        }
    }
}

/// The keys and the fixed values of the input document, allocated once.
struct Keys {
    agent: Value,
    annotations: Value,
    answer: Value,
    arguments: Value,
    headers: Value,
    id: Value,
    input_responses: Value,
    mcp: Value,
    method: Value,
    pinned: Value,
    prompt: Value,
    request: Value,
    resource_uri: Value,
    server: Value,
    session: Value,
    source_ip: Value,
    subject: Value,
    task: Value,
    task_id: Value,
    time: Value,
    tool: Value,
    version: Value,
    client: Value,
    during: Value,
    from: Value,
    result: Value,
    target: Value,
    nothing: Value,
    authn: Value,
    kind: Value,
    labels: Value,
    status: Value,
    tools: Value,
    approved: Value,
    delegated: Value,
    autonomous: Value,
    none: Value,
    secret: Value,
    key: Value,
    workload: Value,
    tools_call: Value,
    prompts_get: Value,
    resources_read: Value,
}

impl Keys {
    fn agent_kind(&self, kind: AgentKind) -> &Value {
        match kind {
            AgentKind::Delegated => &self.delegated,
            AgentKind::Autonomous => &self.autonomous,
        }
    }

    fn agent_authn(&self, authn: AgentAuthn) -> &Value {
        match authn {
            AgentAuthn::None => &self.none,
            AgentAuthn::Secret => &self.secret,
            AgentAuthn::Key => &self.key,
            AgentAuthn::Workload => &self.workload,
        }
    }
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys {
    agent: Value::from("agent"),
    annotations: Value::from("annotations"),
    answer: Value::from("answer"),
    arguments: Value::from("arguments"),
    headers: Value::from("headers"),
    id: Value::from("id"),
    input_responses: Value::from("input_responses"),
    mcp: Value::from("mcp"),
    method: Value::from("method"),
    pinned: Value::from("pinned"),
    prompt: Value::from("prompt"),
    request: Value::from("request"),
    resource_uri: Value::from("resource_uri"),
    server: Value::from("server"),
    session: Value::from("session"),
    source_ip: Value::from("source_ip"),
    subject: Value::from("subject"),
    task: Value::from("task"),
    task_id: Value::from("task_id"),
    time: Value::from("time"),
    tool: Value::from("tool"),
    version: Value::from("version"),
    client: Value::from("client"),
    during: Value::from("during"),
    from: Value::from("from"),
    result: Value::from("result"),
    target: Value::from("target"),
    nothing: Value::new_object(),
    authn: Value::from("authn"),
    kind: Value::from("kind"),
    labels: Value::from("labels"),
    status: Value::from("status"),
    tools: Value::from("tools"),
    approved: Value::from("approved"),
    delegated: Value::from("delegated"),
    autonomous: Value::from("autonomous"),
    none: Value::from("none"),
    secret: Value::from("secret"),
    key: Value::from("key"),
    workload: Value::from("workload"),
    tools_call: Value::from("tools/call"),
    prompts_get: Value::from("prompts/get"),
    resources_read: Value::from("resources/read"),
});

fn object<const N: usize>(entries: [(&Value, Value); N]) -> Value {
    let mut object = Object::new();
    for (key, value) in entries {
        object.insert(key.clone(), value);
    }
    Value::Object(Arc::new(object))
}

fn document(value: Option<&Value>) -> Value {
    value.map_or(Value::Null, Value::clone)
}

fn text(value: Option<&str>) -> Value {
    value.map_or(Value::Null, Value::from)
}

/// The input documents of many decisions that differ only in what is asked about: each entry of a list.
#[derive(Clone, Debug)]
pub struct Listing {
    input: Object,
    mcp: Object,
}

/// What an entry of a list stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Called by `tools/call`.
    Tool,
    /// Got by `prompts/get`.
    Prompt,
    /// Read by `resources/read`; a template stands for all that it can become.
    Resource,
}

impl Listing {
    /// The `input` document about calling, getting or reading the entry `name`; `pin` as in [`Mcp::pin`].
    #[must_use]
    pub fn entry(&self, kind: Kind, name: &str, pin: Option<Hints>) -> Value {
        let keys = &*KEYS;
        let (method, member) = match kind {
            Kind::Tool => (&keys.tools_call, &keys.tool),
            Kind::Prompt => (&keys.prompts_get, &keys.prompt),
            Kind::Resource => (&keys.resources_read, &keys.resource_uri),
        };
        let (mut input, mut mcp) = (self.input.clone(), self.mcp.clone());
        mcp.insert(keys.method.clone(), method.clone());
        mcp.insert(member.clone(), Value::from(name));
        if let Some(hints) = pin {
            mcp.insert(keys.annotations.clone(), hints.document());
            mcp.insert(keys.pinned.clone(), Value::Bool(true));
        }
        input.insert(keys.mcp.clone(), Value::Object(Arc::new(mcp)));
        Value::Object(Arc::new(input))
    }
}

impl Input<'_> {
    /// This input for the entries of a list, in place of its own tool, prompt or resource.
    #[must_use]
    pub fn listing(&self) -> Listing {
        let frozen = |value: Value| match value {
            Value::Object(object) => Arc::unwrap_or_clone(object),
            _ => Object::new(),
        };
        let mcp = Mcp {
            tool: None,
            pin: None,
            arguments: None,
            prompt: None,
            resource_uri: None,
            task_id: None,
            input_responses: None,
            answer: None,
            ..self.mcp.clone()
        };
        let input = Input { mcp: &mcp, ..*self };
        let input = frozen(input.to_value());
        let mcp = input.get(&KEYS.mcp).cloned().map(frozen);
        Listing {
            mcp: mcp.unwrap_or_default(),
            input,
        }
    }

    /// The `input` document about the result of this request, [`Value::Null`] for one that is too large.
    #[must_use]
    pub fn with_result(&self, result: Value) -> Value {
        let Value::Object(input) = self.to_value() else {
            return Value::Undefined;
        };
        let mut input = Arc::unwrap_or_clone(input);
        input.insert(KEYS.result.clone(), result);
        Value::Object(Arc::new(input))
    }

    /// The `input` document.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let keys = &*KEYS;
        let mcp = object([
            (
                &keys.annotations,
                self.mcp
                    .pin
                    .map_or_else(|| keys.nothing.clone(), Hints::document),
            ),
            (
                &keys.arguments,
                self.mcp
                    .arguments
                    .map_or_else(|| keys.nothing.clone(), Value::clone),
            ),
            (
                &keys.during,
                self.mcp.during.map_or(Value::Null, |during| {
                    object([
                        (&keys.method, Value::from(during.method)),
                        (&keys.target, text(during.target)),
                    ])
                }),
            ),
            (
                &keys.from,
                match self.mcp.during {
                    None => keys.client.clone(),
                    Some(_) => keys.server.clone(),
                },
            ),
            (&keys.answer, document(self.mcp.answer)),
            (&keys.input_responses, document(self.mcp.input_responses)),
            (&keys.method, Value::from(self.mcp.method)),
            (&keys.pinned, Value::Bool(self.mcp.pin.is_some())),
            (&keys.prompt, text(self.mcp.prompt)),
            (&keys.resource_uri, text(self.mcp.resource_uri)),
            (&keys.session, text(self.mcp.session)),
            (&keys.task_id, text(self.mcp.task_id)),
            (&keys.tool, text(self.mcp.tool)),
            (&keys.version, text(self.mcp.version)),
        ]);
        let headers = if self.request.headers.is_empty() {
            keys.nothing.clone()
        } else {
            let mut object = Object::new();
            for (name, value) in self.request.headers {
                object.insert(Value::from(name.as_str()), Value::from(value.as_str()));
            }
            Value::Object(Arc::new(object))
        };
        let request = object([
            (&keys.headers, headers),
            (&keys.id, Value::from(self.request.id)),
            (&keys.source_ip, Value::from(self.request.source_ip)),
            (&keys.time, Value::from(self.request.time)),
        ]);
        object([
            (&keys.agent, self.agent.value.clone()),
            (&keys.mcp, mcp),
            (&keys.request, request),
            (&keys.server, self.server.value.clone()),
            (&keys.subject, self.subject.value.clone()),
            (
                &keys.task,
                self.task.map_or(Value::Null, |task| task.value.clone()),
            ),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pin::Definition;

    #[test]
    fn the_filter_says_of_a_task_what_it_knows() {
        let id = "019aa0c0-6a3e-7c3e-9c1e-0a1b2c3d4e5f";
        let mut task = Task {
            id: id.to_owned(),
            standing: None,
        };
        let of = |task: &Task| Document::from(task).value.to_string();
        assert_eq!(of(&task), format!(r#"{{"id": "{id}"}}"#).replace(": ", ":"));
        task.standing = Some(TaskStanding {
            purpose: "month's end".to_owned(),
            expires: "2026-11-30T00:00:00Z".to_owned(),
            calls: 3,
            max_calls: None,
            calls_today: 7,
        });
        assert!(of(&task).contains(r#""max_calls":null"#), "{}", of(&task));
    }

    #[test]
    fn an_entry_of_a_list_is_asked_about_like_the_request_for_it() {
        let empty = |id: &str| Document::<Server> {
            value: Value::from(id),
            of: PhantomData,
        };
        let (subject, agent) = (
            Document {
                value: Value::from("s"),
                of: PhantomData,
            },
            Document {
                value: Value::from("a"),
                of: PhantomData,
            },
        );
        let server = empty("ledger");
        let request = RequestContext {
            id: "1",
            time: "2026-11-23T10:00:00Z",
            source_ip: "192.0.2.1",
            headers: &[("x-team".to_owned(), "red".to_owned())],
        };
        let arguments = Value::new_array();
        let read_only = r#"{"name":"x","annotations":{"readOnlyHint":true}}"#;
        let read_only = Definition::read(read_only.as_bytes()).unwrap().pin.hints;
        let of = |method, (tool, pin), prompt, resource_uri, arguments| {
            let mcp = Mcp {
                version: Some("2026-07-28"),
                method,
                tool,
                pin,
                arguments,
                prompt,
                resource_uri,
                session: Some("s1"),
                ..Mcp::default()
            };
            let input = Input {
                subject: &subject,
                agent: &agent,
                server: &server,
                mcp: &mcp,
                task: None,
                request: &request,
            };
            (input.to_value(), input.listing())
        };
        let (_, listing) = of(
            "tools/list",
            (Some("left"), Some(read_only)),
            Some("over"),
            None,
            Some(&arguments),
        );
        for (kind, method, [tool, prompt, uri]) in [
            (Kind::Tool, "tools/call", [Some("x"), None, None]),
            (Kind::Prompt, "prompts/get", [None, Some("x"), None]),
            (Kind::Resource, "resources/read", [None, None, Some("x")]),
        ] {
            let (plain, _) = of(method, (tool, None), prompt, uri, None);
            assert_eq!(listing.entry(kind, "x", None), plain);
        }
        let (pinned, _) = of("tools/call", (Some("x"), Some(read_only)), None, None, None);
        assert_eq!(listing.entry(Kind::Tool, "x", Some(read_only)), pinned);
        let text = pinned.to_string();
        assert!(
            text.contains(r#""annotations":{"readOnlyHint":true}"#)
                && text.contains(r#""pinned":true"#),
            "{text}"
        );
    }

    #[test]
    fn an_agent_put_together_is_the_agent_written_out() {
        for kind in [AgentKind::Delegated, AgentKind::Autonomous] {
            for authn in [
                AgentAuthn::None,
                AgentAuthn::Secret,
                AgentAuthn::Key,
                AgentAuthn::Workload,
            ] {
                let written = Agent {
                    id: "a".to_owned(),
                    kind,
                    authn,
                    status: Status::Approved,
                    labels: Labels::from([("team".to_owned(), "red".to_owned())]),
                    tools: vec!["t".to_owned()],
                };
                let labels = Value::from_json_str(r#"{"team":"red"}"#).unwrap();
                let tools = Value::from_json_str(r#"["t"]"#).unwrap();
                let parts = AgentParts {
                    id: "a",
                    kind,
                    authn,
                    labels: &labels,
                    tools: &tools,
                };
                assert_eq!(parts.approved().value, Document::from(&written).value);
            }
        }
    }
}
