//! A message is either refused by the filter, or understood by filter and server alike: same method, same tool, same
//! arguments. Sent to a server on each of the three SDKs, which write down what they understood.

mod bad;
mod corpus;

use std::net::SocketAddr;
use std::time::Duration;

use bad::Answer;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use corpus::witness::Witness;
use corpus::{Case, Fate, OPEN, SECRET, message, stateless};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use writ_core::message::parse;
use writ_tests::envoy::{Envoy, Options, Yaml};
use writ_tests::ports;
use writ_tests::scratch::Scratch;
use writ_tests::signer::{ACCESS_TOKEN, Signer, workload_claims};
use writ_tests::wait::{PATIENCE, until};

const ISSUER: &str = "https://idp.example.com";
/// The key in the shipped file.
const SHIPPED_KEY: &str = "Ct2YJG3rMmNv5-pHDZN-M0ZfUw-Fe-QR7TODZf99qXo";
/// The policy in the shipped file, and what is added to it.
const SHIPPED_RULE: &str = "if input.mcp.tool == `echo`";
const RULE: &str = "if { input.mcp.tool == `echo`; not input.mcp.arguments.secret }";

/// A server behind a filter.
struct Pair {
    sdk: &'static str,
    witness: Witness,
    envoy: Envoy,
    /// How many calls have been looked at.
    seen: usize,
    marks: u32,
}

impl Pair {
    async fn start(scratch: &Scratch, sdk: &'static str, witness: Witness) -> Self {
        let signer = Signer::generate().under_kid("example");
        let port = ports::free().unwrap();
        let claims = workload_claims(
            ISSUER,
            "agent",
            &format!("http://127.0.0.1:{port}/mcp"),
            "",
            600,
        );
        let yaml = Yaml::shipped("standalone.yaml")
            .and_then(|yaml| yaml.port(8080, witness.port()))
            .and_then(|yaml| {
                yaml.replace(
                    SHIPPED_KEY,
                    &BASE64_URL_SAFE_NO_PAD.encode(signer.public_bytes()),
                )
            })
            .and_then(|yaml| yaml.replace(SHIPPED_RULE, RULE))
            .and_then(|yaml| yaml.bearing(&signer.sign(ACCESS_TOKEN, &claims)?))
            .unwrap();
        let options = Options {
            name: format!("envoy-{sdk}"),
            port: Some(port),
            ..Options::default()
        };
        Self {
            sdk,
            witness,
            envoy: Envoy::start(scratch, yaml, options).await.unwrap(),
            seen: 0,
            marks: 0,
        }
    }

    fn address(&self) -> SocketAddr {
        self.envoy.listener()
    }

    /// What the server has understood since it was last asked: all before a call that is sent now.
    async fn heard(&mut self) -> Vec<Value> {
        self.marks += 1;
        let mark = json!({ "tool": OPEN, "arguments": { "mark": self.marks } });
        let body = message(OPEN, &mark["arguments"]).to_string();
        let answer = stateless().body(body).send(self.address()).await;
        assert_eq!(answer.status, 200, "{}: a good call got {answer}", self.sdk);
        let all = until("the good call", PATIENCE, async || {
            let all = self.witness.heard();
            all.contains(&mark).then_some(all)
        });
        let new: Vec<Value> = all.await.unwrap().split_off(self.seen);
        self.seen += new.len();
        let (last, before) = new.split_last().unwrap();
        assert_eq!(*last, mark, "{}: calls came out of order", self.sdk);
        before.to_vec()
    }

    /// What is wrong with how this case went, if anything.
    async fn try_case(&mut self, case: &Case) -> Option<String> {
        let answer = case.post.send(self.address()).await;
        let heard = self.heard().await;
        let decided = decided(&case.body);
        let wrong = match (heard.as_slice(), case.fate) {
            ([], Fate::Refused) => !is_refusal(&answer),
            ([], Fate::Either) => false,
            ([], Fate::Heard) | ([_], Fate::Refused) => true,
            ([call], Fate::Heard | Fate::Either) => {
                !decided.as_ref().is_some_and(|decided| alike(decided, call))
            }
            _ => true,
        };
        wrong.then(|| {
            format!(
                "{}, {}: to be {:?}\n  decided on {decided:?}\n  heard {heard:?}\n  answered {answer}",
                self.sdk, case.name, case.fate
            )
        })
    }
}

/// A status of HTTP that says so, or the error that a policy's denial is.
fn is_refusal(answer: &Answer) -> bool {
    const DENIED: i64 = 403;
    (400..500).contains(&answer.status)
        || serde_json::from_slice::<Value>(&answer.body)
            .is_ok_and(|message| message["error"]["code"] == DENIED)
}

/// What the filter decides on: as the servers would write it down.
fn decided(body: &[u8]) -> Option<Value> {
    let message = parse(body).ok()?;
    let mcp = message.mcp(None, None);
    let arguments = mcp
        .arguments
        .map(|arguments| arguments.to_json_str().unwrap());
    let arguments: Option<Value> = arguments.map(|text| serde_json::from_str(&text).unwrap());
    (mcp.method == "tools/call").then(|| json!({ "tool": mcp.tool, "arguments": arguments }))
}

/// Whether two values are the same, however their numbers are written.
fn alike(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| alike(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .all(|(key, value)| other.get(key).is_some_and(|other| alike(value, other)))
        }
        (one, other) => one == other,
    }
}

/// All that comes back for these bytes and a last request, after which the connection is to be closed.
async fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    const LAST: &[u8] = b"GET /.well-known/oauth-protected-resource/mcp HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n";
    /// Who takes the last request to be part of an earlier one waits for more.
    const PATIENCE: Duration = Duration::from_secs(2);
    let mut stream = TcpStream::connect(address).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let (sent, mut answered) = ([bytes, LAST].concat(), Vec::new());
    // Envoy may close before it has read everything.
    let both = async { tokio::join!(writer.write_all(&sent), reader.read_to_end(&mut answered)) };
    let _ = tokio::time::timeout(PATIENCE, both).await;
    String::from_utf8_lossy(&answered).into_owned()
}

async fn pairs(scratch: &Scratch) -> [Pair; 3] {
    let started = Witness::all(scratch)
        .await
        .map(|(sdk, witness)| Pair::start(scratch, sdk, witness));
    all_of(started).await
}

/// Three things at once.
async fn all_of<T>([one, another, last]: [impl Future<Output = T>; 3]) -> [T; 3] {
    tokio::join!(one, another, last).into()
}

#[tokio::test]
async fn a_message_is_refused_or_understood_alike() {
    let scratch = Scratch::new("differential").unwrap();
    let cases = corpus::all();
    let tried = pairs(&scratch).await.map(async |mut pair| {
        let mut found = Vec::new();
        for case in &cases {
            found.extend(pair.try_case(case).await);
        }
        found
    });
    let found = all_of(tried).await.concat();
    assert!(
        found.is_empty(),
        "{} of {}:\n{}",
        found.len(),
        cases.len(),
        found.join("\n")
    );
}

#[tokio::test]
async fn nothing_is_smuggled_past_the_filter() {
    let scratch = Scratch::new("smuggling").unwrap();
    let tried = pairs(&scratch).await.map(async |mut pair| {
        for (name, bytes) in corpus::smuggled::all() {
            let answered = exchange(pair.address(), &bytes).await;
            for call in pair.heard().await {
                assert!(
                    call["tool"] == OPEN && !call.to_string().contains(SECRET),
                    "{}, {name}: heard {call}, answered {answered}",
                    pair.sdk
                );
            }
        }
    });
    all_of(tried).await;
}
