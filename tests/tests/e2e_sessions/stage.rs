//! A server with sessions, and its clients by hand.

use std::process::Command;

use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use writ_tests::deployment::{Deployment, Options};
use writ_tests::process::Process;
use writ_tests::scratch::Scratch;
use writ_tests::wait::PATIENCE;
use writ_tests::{ports, tools};

/// Everybody may do everything: what is refused is refused by the gateway itself.
const POLICY: &str = "package writ\n\ncall := {\"allow\": true}\n\nvisible := call\n";

pub const BOB: (&str, &str) = ("bob", "incorrect donkey paperclip");

/// The gateway before the reference server.
pub struct Stage {
    server: (Process, u16),
    pub writ: Deployment,
    pub alice: String,
    pub bob: String,
}

impl Stage {
    pub async fn set(name: &str) -> Self {
        let scratch = Scratch::new(&format!("{name}-server")).unwrap();
        let server = everything(&scratch).await;
        let writ = Deployment::start(Options {
            policy: Some(POLICY.to_owned()),
            upstream: Some(server.1),
            workers: 2,
            ..Options::named(name)
        })
        .await
        .unwrap();
        let (user, password) = BOB;
        let add = ["user", "add", user, "--password-stdin"];
        writ.service.cli_with_input(&add, password).unwrap();
        let alice = writ.user_token().await.unwrap();
        let bob = writ.user_token_for(user, password).await.unwrap();
        Self {
            server,
            writ,
            alice,
            bob,
        }
    }

    /// What the server itself says to a session of this name.
    pub async fn past_the_gateway(&self, session: &str) -> u16 {
        let list = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"});
        let request = Client::new()
            .post(format!("http://127.0.0.1:{}/mcp", self.server.1))
            .header("accept", "application/json, text/event-stream")
            .header("mcp-session-id", session);
        request.json(&list).send().await.unwrap().status().as_u16()
    }

    /// A request on a connection of its own: the kernel picks the worker.
    pub fn request(
        &self,
        method: reqwest::Method,
        token: &str,
        session: Option<&str>,
    ) -> RequestBuilder {
        let request = Client::new()
            .request(method, self.writ.url())
            .bearer_auth(token)
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2025-11-25");
        match session {
            Some(session) => request.header("mcp-session-id", session),
            None => request,
        }
    }

    pub async fn post(&self, token: &str, session: Option<&str>, message: &Value) -> Response {
        let request = self.request(reqwest::Method::POST, token, session);
        request.json(message).send().await.unwrap()
    }

    /// A session, ready for calls.
    pub async fn session(&self, token: &str) -> String {
        let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {"sampling": {}, "elicitation": {}},
            "clientInfo": {"name": "by-hand", "version": "1"}}});
        let answer = self.post(token, None, &hello).await;
        assert_eq!(answer.status(), 200);
        let session = answer.headers()["mcp-session-id"]
            .to_str()
            .unwrap()
            .to_owned();
        let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        assert_eq!(self.post(token, Some(&session), &ready).await.status(), 202);
        session
    }
}

async fn everything(scratch: &Scratch) -> (Process, u16) {
    let port = ports::free().unwrap();
    let server = tools::typescript_clients()
        .unwrap()
        .join("node_modules/@modelcontextprotocol/server-everything/dist/index.js");
    let mut command = Command::new(tools::node().unwrap());
    command
        .arg(server)
        .arg("streamableHttp")
        .env("PORT", port.to_string());
    let mut process = Process::spawn("everything", command, scratch.path()).unwrap();
    process
        .until("the reference server's port", PATIENCE, async |_| {
            tokio::net::TcpStream::connect(("127.0.0.1", port))
                .await
                .ok()
        })
        .await
        .unwrap();
    (process, port)
}

/// An event stream, event by event: id and message.
pub struct Events {
    response: Response,
    text: String,
}

impl Events {
    pub fn of(response: Response) -> Self {
        assert_eq!(response.status(), 200);
        Self {
            response,
            text: String::new(),
        }
    }

    /// The next event with a message.
    pub async fn next(&mut self) -> (String, Value) {
        loop {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    let mut lines = event.lines();
                    lines
                        .find_map(|line| line.strip_prefix(name))
                        .map(|v| v.trim().to_owned())
                };
                let found = (
                    field("id:").unwrap_or_default(),
                    field("data:").unwrap_or_default(),
                );
                self.text = rest.to_owned();
                if let Ok(message) = serde_json::from_str(&found.1) {
                    return (found.0, message);
                }
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk()).await;
            let chunk = chunk
                .expect("an event")
                .unwrap()
                .expect("the stream goes on");
            self.text += std::str::from_utf8(&chunk).unwrap();
        }
    }

    /// The next message that `wanted` accepts.
    pub async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> (String, Value) {
        loop {
            let event = self.next().await;
            if wanted(&event.1) {
                return event;
            }
        }
    }
}
