//! What a server speaks and has, found out by starting it: by `server/discover` (MCP 2026-07-28), else by `initialize`.

use std::{collections::BTreeSet, io, sync::Arc, time::Duration};

use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::{
    channel::Use,
    process::{Process, Recipe},
    wire::{self, Kind},
};

/// The version of the stateless era.
pub(super) const STATELESS: &str = "2026-07-28";
/// The latest version with sessions.
const SESSIONS: &str = "2025-11-25";
/// Pages of a tool list that are read.
const PAGES: usize = 100;
/// Tools that are remembered.
const TOOLS: usize = 1000;

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The program cannot be run.
    #[error("cannot run `{command}`: {source}; is the program installed, and in PATH?")]
    Program {
        /// The command.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// It ended before it was ready.
    #[error("`{command}` does not start: {why}{last_words}")]
    Ended {
        /// The command.
        command: String,
        /// How it ended.
        why: Arc<str>,
        /// What it wrote to standard error.
        last_words: String,
    },
    /// It says nothing.
    #[error(
        "`{command}` did not answer `initialize` within {limit:?}: is it an MCP server on stdio?{last_words}"
    )]
    Silent {
        /// The command.
        command: String,
        /// How long it had.
        limit: Duration,
        /// What it wrote to standard error.
        last_words: String,
    },
    /// It does not want to be initialized.
    #[error("`{command}` refused to be initialized: {answer}")]
    Refused {
        /// The command.
        command: String,
        /// What it answered.
        answer: String,
    },
}

/// A server as it was found.
#[derive(Debug)]
pub(super) struct Learned {
    /// The process that is spoken to without sessions, where the server speaks so.
    pub(super) stateless: Option<Process>,
    /// The names of its tools.
    pub(super) tools: BTreeSet<String>,
}

/// Starts the server and finds out. It has `limit` for each step: `npx` and `uvx` may have to fetch it first.
pub(super) async fn learn(recipe: &Arc<Recipe>, limit: Duration) -> Result<Learned, StartError> {
    if let Some(process) = stateless(recipe, limit).await? {
        let params = Map::from_iter([("_meta".to_owned(), meta())]);
        let tools = tools(&process, params, limit).await;
        return Ok(Learned {
            stateless: Some(process),
            tools,
        });
    }
    // Some servers end when they are asked anything before `initialize`.
    let process = start(recipe, Use::Session)?;
    let hello = json!({
        "protocolVersion": SESSIONS,
        "capabilities": {},
        "clientInfo": client(),
    });
    let command = || recipe.shown();
    match call(&process, "initialize", &hello, limit).await {
        Ok(_) => {}
        Err(CallError::Refused(answer)) => {
            return Err(StartError::Refused {
                command: command(),
                answer,
            });
        }
        Err(CallError::Ended) => {
            return Err(StartError::Ended {
                command: command(),
                why: process.ended().await,
                last_words: last_words(&process),
            });
        }
        Err(CallError::Silent) => {
            process.stop().await;
            return Err(StartError::Silent {
                command: command(),
                limit,
                last_words: last_words(&process),
            });
        }
    }
    let initialized = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    if let Some(message) = wire::read(initialized) {
        // A process that has ended by now says so at the next question.
        let _ = process.channel.notify(&message, initialized).await;
    }
    let tools = tools(&process, Map::new(), limit).await;
    process.stop().await;
    Ok(Learned {
        stateless: None,
        tools,
    })
}

/// Starts a process that is spoken to without sessions; none where the server does not speak so.
pub(super) async fn stateless(
    recipe: &Arc<Recipe>,
    limit: Duration,
) -> Result<Option<Process>, StartError> {
    let process = start(recipe, Use::Shared)?;
    let answer = call(
        &process,
        "server/discover",
        &json!({"_meta": meta()}),
        limit,
    )
    .await;
    let speaks = answer.is_ok_and(|result| {
        let versions = result.get("supportedVersions").and_then(Value::as_array);
        versions.is_some_and(|versions| versions.iter().any(|v| v == STATELESS))
    });
    if speaks {
        return Ok(Some(process));
    }
    process.stop().await;
    Ok(None)
}

fn start(recipe: &Arc<Recipe>, used: Use) -> Result<Process, StartError> {
    recipe
        .start(used, ())
        .map_err(|source| StartError::Program {
            command: recipe.shown(),
            source,
        })
}

/// All tools; those of the pages that could be read where there is a problem.
async fn tools(
    process: &Process,
    mut params: Map<String, Value>,
    limit: Duration,
) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for _ in 0..PAGES {
        let Ok(page) = call(process, "tools/list", &Value::from(params.clone()), limit).await
        else {
            break;
        };
        let tools = page.get("tools").and_then(Value::as_array);
        let names = tools
            .into_iter()
            .flatten()
            .filter_map(|tool| tool.get("name")?.as_str());
        found.extend(names.map(str::to_owned));
        match page.get("nextCursor") {
            Some(Value::String(cursor)) if found.len() < TOOLS => {
                params.insert("cursor".to_owned(), cursor.as_str().into());
            }
            _ => break,
        }
    }
    found
}

/// Why a question of ours has no result.
enum CallError {
    Refused(String),
    Ended,
    Silent,
}

/// Asks the server something ourselves.
async fn call(
    process: &Process,
    method: &str,
    params: &Value,
    limit: Duration,
) -> Result<Value, CallError> {
    let request = json!({"jsonrpc": "2.0", "id": method, "method": method, "params": params});
    let bytes = request.to_string().into_bytes();
    let message = wire::read(&bytes).ok_or(CallError::Ended)?;
    let Kind::Request { id, .. } = &message.kind else {
        return Err(CallError::Ended);
    };
    let asked = process.channel.request(&message, id, &bytes).await;
    let reply = asked.map_err(|_| CallError::Ended)?;
    let answer = async {
        while let Some(message) = reply.next().await {
            if message.answer.is_some() {
                return Some(message);
            }
        }
        None
    };
    let answer = timeout(limit, answer)
        .await
        .map_err(|_| CallError::Silent)?
        .ok_or(CallError::Ended)?;
    let answer: Value = serde_json::from_slice(&answer.json).unwrap_or_default();
    match answer.get("result") {
        Some(result) => Ok(result.clone()),
        None if process.channel.is_over() => Err(CallError::Ended),
        None => {
            let told = answer.pointer("/error/message").and_then(Value::as_str);
            Err(CallError::Refused(crate::audit::printable(
                told.unwrap_or("an error without a message"),
            )))
        }
    }
}

fn client() -> Value {
    json!({"name": "writ-connect", "version": env!("CARGO_PKG_VERSION")})
}

fn meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": STATELESS,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": client(),
    })
}

fn last_words(process: &Process) -> String {
    let lines = process.last_words();
    if lines.is_empty() {
        return String::new();
    }
    format!("; the last it said:\n  {}", lines.join("\n  "))
}
