//! Every method of MCP, of both wire eras: who sends it, what it acts on, and on what kind of token it travels.
//!
//! What is in no row is not part of MCP as this release knows it, and passes only to servers whose registration names it.

/// The method name for opening a GET stream, which has no body.
pub const STREAM_OPEN: &str = "stream/open";

/// The method name for ending a session with DELETE, which has no body.
pub const SESSION_CLOSE: &str = "session/close";

/// What the name of a client's answer to a server's question begins with; the method of the question follows.
pub const RESPONSE: &str = "response/";

/// What the names of notifications begin with.
pub(crate) const NOTIFICATION: &str = "notifications/";

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

/// Who sends a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    Client,
    Server,
    Either,
}

/// What the answer to a method can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// Lists of what a server has: those asked for, what a server tells of itself, and streams, on which an answer may be
    /// delivered again.
    Reveals,
    /// Nothing of the kind.
    Plain,
}

/// One method.
#[derive(Debug)]
struct Row {
    name: &'static str,
    sender: Sender,
    subject: Subject,
    travel: Travel,
    answer: Answer,
}

const fn row(
    name: &'static str,
    sender: Sender,
    subject: Subject,
    travel: Travel,
    answer: Answer,
) -> Row {
    Row {
        name,
        sender,
        subject,
        travel,
        answer,
    }
}

/// The methods of 2024-11-05 to 2026-07-28, the tasks of 2025-11-25 and the tasks extension of 2026-07-28.
#[rustfmt::skip]
const METHODS: [Row; 38] = {
    use Answer::{Plain, Reveals};
    use Sender::{Client, Either, Server};
    use Subject::{None, Prompt, Resource, Task, Tool};
    use Travel::{Discovery, SingleUse};
    [
        row("tools/call", Client, Tool, SingleUse, Plain),
        row("tools/list", Client, None, Discovery, Reveals),
        row("prompts/get", Client, Prompt, SingleUse, Plain),
        row("prompts/list", Client, None, Discovery, Reveals),
        row("resources/read", Client, Resource, SingleUse, Plain),
        row("resources/list", Client, None, Discovery, Reveals),
        row("resources/templates/list", Client, None, Discovery, Reveals),
        row("resources/subscribe", Client, Resource, SingleUse, Plain),
        row("resources/unsubscribe", Client, Resource, SingleUse, Plain),
        row("completion/complete", Client, None, SingleUse, Plain),
        row("logging/setLevel", Client, None, SingleUse, Plain),
        row("initialize", Client, None, Discovery, Plain),
        row("server/discover", Client, None, Discovery, Reveals),
        row("subscriptions/listen", Client, None, SingleUse, Plain),
        row(STREAM_OPEN, Client, None, Discovery, Reveals),
        row(SESSION_CLOSE, Client, None, SingleUse, Plain),
        row("ping", Either, None, Discovery, Plain),
        row("tasks/get", Either, Task, SingleUse, Plain),
        row("tasks/result", Either, Task, SingleUse, Plain),
        row("tasks/cancel", Either, Task, SingleUse, Plain),
        row("tasks/update", Client, Task, SingleUse, Plain),
        row("tasks/list", Either, None, SingleUse, Plain),
        row("sampling/createMessage", Server, None, SingleUse, Plain),
        row("elicitation/create", Server, None, SingleUse, Plain),
        row("roots/list", Server, None, SingleUse, Plain),
        row("notifications/initialized", Client, None, Discovery, Plain),
        row("notifications/roots/list_changed", Client, None, Discovery, Plain),
        row("notifications/cancelled", Either, None, Discovery, Plain),
        row("notifications/progress", Either, None, Discovery, Plain),
        row("notifications/tasks/status", Either, None, Discovery, Plain),
        row("notifications/message", Server, None, Discovery, Plain),
        row("notifications/tools/list_changed", Server, None, Discovery, Plain),
        row("notifications/prompts/list_changed", Server, None, Discovery, Plain),
        row("notifications/resources/list_changed", Server, None, Discovery, Plain),
        row("notifications/resources/updated", Server, None, Discovery, Plain),
        row("notifications/elicitation/complete", Server, None, Discovery, Plain),
        row("notifications/tasks", Server, None, Discovery, Plain),
        row("notifications/subscriptions/acknowledged", Server, None, Discovery, Plain),
    ]
};

/// What a server can ask a client.
pub(crate) fn questions() -> impl Iterator<Item = &'static str> {
    let asked = |row: &&Row| row.sender != Sender::Client && !row.name.starts_with(NOTIFICATION);
    METHODS.iter().filter(asked).map(|row| row.name)
}

fn find(method: &str) -> Option<&'static Row> {
    METHODS.iter().find(|row| row.name == method)
}

/// What `method` acts on.
pub(crate) fn subject(method: &str) -> Subject {
    find(method).map_or(Subject::None, |row| row.subject)
}

/// Whether `method` acts on something and is gone since 2026-07-28.
pub(crate) fn is_removed(method: &str) -> bool {
    matches!(method, "resources/subscribe" | "resources/unsubscribe")
}

/// On what kind of token `method` travels. What is not known gets one of its own.
pub(crate) fn travel(method: &str) -> Travel {
    match find(method) {
        Some(row) => row.travel,
        None if method.starts_with(NOTIFICATION) => Travel::Discovery,
        None => Travel::SingleUse,
    }
}

/// Whether the answer to `method` can hold lists of what a server has.
pub(crate) fn reveals(method: &str) -> bool {
    find(method).is_some_and(|row| row.answer == Answer::Reveals)
}

/// Whether `method` is one whose target `Mcp-Name` repeats (MCP 2026-07-28 and its tasks extension).
pub(crate) fn is_named_in_header(method: &str) -> bool {
    matches!(
        method,
        "tools/call"
            | "prompts/get"
            | "resources/read"
            | "tasks/get"
            | "tasks/update"
            | "tasks/cancel"
    )
}

/// Whether a client sends `method` to servers; `response/…` is the answer to something that a server may send.
pub(crate) fn is_from_client(method: &str) -> bool {
    method.starts_with(RESPONSE) || find(method).is_some_and(|row| row.sender != Sender::Server)
}

/// Whether a server sends `method` to clients.
#[must_use]
pub fn is_from_server(method: &str) -> bool {
    find(method).is_some_and(|row| row.sender != Sender::Client)
}

/// Whether `method` may be in a message at all: the names of what has no body, or no method, are taken.
pub(crate) fn is_free(method: &str) -> bool {
    ![STREAM_OPEN, SESSION_CLOSE].contains(&method) && !method.starts_with(RESPONSE)
}

/// A method beyond those of MCP that a registration names, checked: what its messages may be called.
///
/// # Errors
/// When no message can be called so.
pub fn check_named(method: &str) -> Result<(), NotAMethod> {
    let printable = method.bytes().all(|byte| byte.is_ascii_graphic());
    if method.is_empty() || method.len() > MAX_NAMED || !printable || !is_free(method) {
        return Err(NotAMethod(method.chars().take(MAX_NAMED).collect()));
    }
    Ok(())
}

/// The longest method that a registration may name, in bytes.
const MAX_NAMED: usize = 128;

/// A name that no method can have.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is no name of a method: it must be 1 to {MAX_NAMED} visible ASCII characters, and neither stream/open, \
     session/close nor response/…"
)]
pub struct NotAMethod(String);

/// A method that is neither one of MCP nor named by the server's registration.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{method}` is no method of MCP that this gateway knows, so it is not passed on; if server `{server}` has it, an \
     administrator can allow it: `writ server update {server} --method {method}` (`servers.{server}.methods` without a \
     token service)"
)]
pub struct UnknownMethod {
    /// The method.
    pub method: String,
    /// The server's id.
    pub server: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_named_once() {
        let mut names: Vec<_> = METHODS.iter().map(|row| row.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), METHODS.len());
    }

    #[test]
    fn who_may_send_what_is_told_apart() {
        for (method, client, server) in [
            ("tools/call", true, false),
            ("ping", true, true),
            ("tasks/get", true, true),
            ("sampling/createMessage", false, true),
            ("roots/list", false, true),
            ("notifications/initialized", true, false),
            ("notifications/progress", true, true),
            ("notifications/message", false, true),
            ("response/elicitation/create", true, false),
            ("tools/Call", false, false),
            ("x/unheard-of", false, false),
        ] {
            assert_eq!(
                (is_from_client(method), is_from_server(method)),
                (client, server),
                "{method}"
            );
        }
    }

    #[test]
    fn a_registration_names_what_a_message_can_be_called() {
        for good in ["acme/report", "notifications/acme", "tools/call"] {
            assert!(check_named(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "a b",
            "ü",
            "a\n",
            "stream/open",
            "response/x",
            &"m".repeat(129),
        ] {
            assert!(check_named(bad).is_err(), "{bad}");
        }
    }
}
