//! The message that a request for a decision is about, read as every message is: what a gateway would have refused to read,
//! or to pass on, is denied here too.

use serde_json::{Map, Value, json};
use writ_core::message::{self, Message, SESSION_CLOSE, STREAM_OPEN};

use super::{answer::Denial, request::Question};
use crate::registry::Server;

/// What a resource is (section 5.2), by its type: the parameter of a message that names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ActedOn {
    Tool,
    Prompt,
    Resource,
    Task,
    Server,
}

impl ActedOn {
    fn of(kind: &str) -> Option<Self> {
        Some(match kind {
            "tool" => Self::Tool,
            "prompt" => Self::Prompt,
            "resource" => Self::Resource,
            "task" => Self::Task,
            // Of the MCP profile.
            "server" | "mcp_server" => Self::Server,
            _ => return None,
        })
    }

    fn parameter(self) -> Option<&'static str> {
        match self {
            Self::Tool | Self::Prompt => Some("name"),
            Self::Resource => Some("uri"),
            Self::Task => Some("taskId"),
            Self::Server => None,
        }
    }
}

/// Whether a resource of this type is a server.
pub(super) fn is_server(kind: &str) -> bool {
    ActedOn::of(kind) == Some(ActedOn::Server)
}

/// The message to `server` that is asked about.
///
/// # Errors
/// When there can be no such message.
pub(super) fn about(question: &Question<'_>, server: &Server) -> Result<Message, Denial> {
    let denied = |told: String| Denial::new("question", told);
    let resource = ActedOn::of(question.resource.kind).ok_or_else(|| {
        denied(format!(
            "no resource is of the type {:?}: it is tool, prompt, resource, task or server",
            question.resource.kind
        ))
    })?;
    let (method, resource, id) = match (resource, question.action.name) {
        (ActedOn::Server, STREAM_OPEN) => return Ok(Message::bodiless(STREAM_OPEN)),
        (ActedOn::Server, SESSION_CLOSE) => return Ok(Message::bodiless(SESSION_CLOSE)),
        (ActedOn::Server, tool) if is_tool(tool, server) => ("tools/call", ActedOn::Tool, tool),
        (resource, method) => (method, resource, question.resource.id),
    };
    let mut params = question.action.properties.cloned().unwrap_or_default();
    let named = resource.parameter().map(|parameter| (parameter, id));
    if let Some((parameter, id)) = named
        && *params.entry(parameter).or_insert_with(|| id.into()) != *id
    {
        return Err(denied(format!(
            "action.properties.{parameter} is something else than {id:?}"
        )));
    }
    let message = read(method, params).map_err(denied)?;
    let mcp = message.mcp(None, None);
    let acts_on = match resource {
        ActedOn::Tool => mcp.tool,
        ActedOn::Prompt => mcp.prompt,
        ActedOn::Resource => mcp.resource_uri,
        ActedOn::Task => mcp.task_id,
        ActedOn::Server => None,
    };
    if acts_on != named.map(|(_, id)| id) || message.target() != acts_on {
        return Err(denied(format!(
            "{method} is no action on a resource of the type {}: action.name is the MCP method",
            question.resource.kind
        )));
    }
    message
        .check_known(server.id.as_str(), &server.methods)
        .map_err(|unknown| Denial::new("method", unknown.to_string()))?;
    Ok(message)
}

/// Whether an action on a server is one of its tools: a word that is no method of MCP, nor of the server's own.
fn is_tool(action: &str, server: &Server) -> bool {
    let is_method = |message: Message| {
        message
            .check_known(server.id.as_str(), &server.methods)
            .is_ok()
    };
    !action.contains('/') && !read(action, Map::new()).is_ok_and(is_method)
}

fn read(method: &str, params: Map<String, Value>) -> Result<Message, String> {
    let mut message = json!({"jsonrpc": "2.0", "method": method, "params": params});
    if !method.starts_with("notifications/")
        && let Some(members) = message.as_object_mut()
    {
        members.insert("id".to_owned(), 1.into());
    }
    message::parse(message.to_string().as_bytes())
        .map_err(|e| format!("there is no such message to ask about: {}", e.problem))
}
