//! HTTP/1.1 by hand: headers that are not text, twice the same header, bodies that are cut short.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long an answer may take before the test calls it hanging.
const PATIENCE: Duration = Duration::from_secs(20);

/// A POST whose every byte is chosen.
#[derive(Clone, Debug)]
pub struct Post {
    path: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Post {
    /// A good call with this token: tests then spoil one thing.
    pub fn good(token: &str) -> Self {
        let headers = [
            ("authorization", format!("Bearer {token}")),
            ("accept", "application/json, text/event-stream".to_owned()),
            ("content-type", "application/json".to_owned()),
            ("mcp-protocol-version", "2026-07-28".to_owned()),
            ("mcp-method", "tools/call".to_owned()),
            ("mcp-name", super::TOOL.to_owned()),
        ];
        let headers = headers
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.into_bytes()));
        Self {
            path: "/mcp".to_owned(),
            headers: headers.collect(),
            body: super::good_message().into_bytes(),
        }
    }

    /// With another body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// With another path and query.
    #[must_use]
    pub fn path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// Calling this tool, without arguments.
    #[must_use]
    pub fn tool(self, tool: &str) -> Self {
        let message = writ_tests::mcp::call_message(tool, &serde_json::json!({}));
        self.header("mcp-name", tool).body(message.to_string())
    }

    /// With this header in place of what it was.
    #[must_use]
    pub fn header(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.without(name).another_header(name, value)
    }

    /// With this header besides what there is.
    #[must_use]
    pub fn another_header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers
            .push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// Without this header.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(key, _)| key != name);
        self
    }

    /// Without the headers that repeat what the body says.
    #[must_use]
    pub fn without_mcp_headers(self) -> Self {
        self.without("mcp-method")
            .without("mcp-name")
            .without("mcp-protocol-version")
    }

    /// Sends it on a connection of its own.
    pub async fn send(&self, address: SocketAddr) -> Answer {
        let length = format!(
            "content-length: {}\r\nconnection: close\r\n",
            self.body.len()
        );
        exchange(address, &self.head(address, &length), &self.body).await
    }

    /// The request line and the headers, `more` among them; the host is `address` unless it is one of the headers.
    pub fn head(&self, address: SocketAddr, more: &str) -> Vec<u8> {
        let mut head = format!("POST {} HTTP/1.1\r\n{more}", self.path).into_bytes();
        if !self.headers.iter().any(|(name, _)| name == "host") {
            head.extend(format!("host: {address}\r\n").bytes());
        }
        for (name, value) in &self.headers {
            head.extend_from_slice(name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value);
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        head
    }
}

/// Sends these bytes, and reads until Envoy closes.
pub async fn exchange(address: SocketAddr, head: &[u8], body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).await.expect("Envoy listens");
    stream
        .write_all(head)
        .await
        .expect("Envoy reads the headers");
    let (mut reader, mut writer) = stream.split();
    let mut bytes = Vec::new();
    let answer = async {
        while !is_whole(&bytes) && reader.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {}
    };
    // Envoy may answer, and close, before it has read all of a body that is too large.
    let both = async { tokio::join!(writer.write_all(body), answer) };
    let _ = tokio::time::timeout(PATIENCE, both)
        .await
        .expect("Envoy answers");
    Answer::parse(&bytes)
}

/// Whether an answer says itself that it has come to its end. Envoy takes a second more to close the connection.
fn is_whole(bytes: &[u8]) -> bool {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return false;
    };
    let (head, body) = bytes.split_at(end + 4);
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let header = |name| head.lines().find_map(|line| line.strip_prefix(name));
    match header("content-length: ").and_then(|length| length.parse::<usize>().ok()) {
        Some(length) => body.len() >= length,
        None => header("transfer-encoding: ").is_some() && body.ends_with(b"\r\n0\r\n\r\n"),
    }
}

/// An answer as it arrived.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Header names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, unchunked.
    pub body: Vec<u8>,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let end = bytes
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap_or_else(|| {
                panic!("no HTTP answer: {:?}", String::from_utf8_lossy(bytes));
            });
        let head = String::from_utf8_lossy(&bytes[..end]);
        let mut lines = head.lines();
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1)?.parse().ok())
            .expect("a status line");
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let body = bytes[end + 4..].to_vec();
        let chunked = headers
            .iter()
            .any(|(name, value)| name == "transfer-encoding" && value == "chunked");
        Self {
            status,
            headers,
            body: if chunked { unchunk(&body) } else { body },
        }
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    pub fn json(&self, case: &str) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!(
                "{case}: {} with a body that is no JSON ({error}): {self}",
                self.status
            )
        })
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} {:?} {}",
            self.status,
            self.headers,
            String::from_utf8_lossy(&self.body)
        )
    }
}

fn unchunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&bytes[..end])
            .ok()
            .and_then(|hex| usize::from_str_radix(hex.trim(), 16).ok());
        let Some(size @ 1..) = size else { break };
        let start = end + 2;
        body.extend_from_slice(bytes.get(start..start + size).unwrap_or_default());
        bytes = bytes.get(start + size + 2..).unwrap_or_default();
    }
    body
}
