//! What is known about each MCP method: what it acts on, and on what kind of token it travels.

/// The method name for opening a GET stream, which has no body.
pub const STREAM_OPEN: &str = "stream/open";

/// The method name for ending a session with DELETE, which has no body.
pub const SESSION_CLOSE: &str = "session/close";

/// On what kind of token a message goes upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Travel {
    /// A short-lived token per caller and server, good for looking around.
    Discovery,
    /// A token for this one message.
    SingleUse,
}

/// Which parameter names what a method acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Nothing in particular.
    None,
    /// `params.name`, a tool.
    Tool,
    /// `params.name`, a prompt.
    Prompt,
    /// `params.uri`, a resource.
    Resource,
    /// `params.taskId`, a task.
    Task,
}

impl Subject {
    /// The parameter that holds it.
    pub(crate) fn parameter(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Tool | Self::Prompt => Some("name"),
            Self::Resource => Some("uri"),
            Self::Task => Some("taskId"),
        }
    }
}

/// What `method` acts on.
pub(crate) fn subject(method: &str) -> Subject {
    match method {
        "tools/call" => Subject::Tool,
        "prompts/get" => Subject::Prompt,
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => Subject::Resource,
        "tasks/get" | "tasks/update" | "tasks/cancel" | "tasks/result" => Subject::Task,
        _ => Subject::None,
    }
}

/// On what kind of token `method` travels.
pub(crate) fn travel(method: &str) -> Travel {
    match method {
        "initialize"
        | "server/discover"
        | "ping"
        | "tools/list"
        | "prompts/list"
        | "resources/list"
        | "resources/templates/list"
        | STREAM_OPEN => Travel::Discovery,
        _ if method.starts_with(NOTIFICATION) => Travel::Discovery,
        _ => Travel::SingleUse,
    }
}

/// Whether the answer to `method` can hold lists of what a server has: those that ask for one, what a server tells of
/// itself, and streams, on which an answer may be delivered again.
pub(crate) fn reveals(method: &str) -> bool {
    matches!(
        method,
        "tools/list"
            | "prompts/list"
            | "resources/list"
            | "resources/templates/list"
            | "server/discover"
            | STREAM_OPEN
    )
}

/// What the names of notifications begin with.
pub(crate) const NOTIFICATION: &str = "notifications/";
