//! What large messages cost: lists that are filtered, events that pass one by one, arguments of a mebibyte.
//!
//! One caller, one request at a time; Envoy's CPU time per request is compared with plain Envoy's for the same bytes,
//! round by round, and so is the time an event takes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;

use crate::added::{Added, Messages};
use crate::measure::Row;
use crate::noise::Spread;
use crate::plan::Plan;
use crate::report::Memory;
use crate::setup::Setup;
use crate::{backend, cpu, filter, load};

/// Lengths of the lists, in entries of some 400 bytes.
const LISTS: [u64; 3] = [100, 500, 1_000];
/// Events of a stream.
const EVENTS: u64 = 200;
/// Just below what the filter takes.
const BODY_BYTES: usize = 1_048_000;

/// What is asked for, and thereby what passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A list; the server makes entries that the caller may use, may not use, or that have no name.
    List(u64, Entries),
    /// A stream of [`EVENTS`], the next sent when the last has arrived.
    Stream,
    /// A call with [`BODY_BYTES`].
    Body,
}

/// What a list holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entries {
    /// Tools that the caller may use.
    Shown,
    /// Tools that it may not use.
    Hidden,
    /// Entries that no policy is asked about, and that are cut out like those it hides.
    Nameless,
}

impl Entries {
    /// The name of the n-th entry.
    pub fn name(self, n: u64) -> Option<String> {
        match self {
            Self::Shown => Some(format!("tool_{n}")),
            Self::Hidden => Some(format!("other_{n}")),
            Self::Nameless => None,
        }
    }

    /// In the header that tells the server.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shown => "shown",
            Self::Hidden => "hidden",
            Self::Nameless => "nameless",
        }
    }

    /// From that header.
    pub fn named(text: &str) -> Option<Self> {
        [Self::Shown, Self::Hidden, Self::Nameless]
            .into_iter()
            .find(|one| one.as_str() == text)
    }
}

/// One way through Envoy with one kind of work.
#[derive(Debug)]
struct Case<'a> {
    row: &'a Row,
    work: Work,
    /// CPU of Envoy per request, by round, in microseconds.
    cpu_us: Vec<f64>,
    /// Wall time per request, by round, in microseconds.
    wall_us: Vec<f64>,
}

/// The rows, and how often each work is done in a round.
pub async fn measure(setup: &Setup, plan: &Plan) -> Result<Messages> {
    let [plain, filtered, governed] = setup.message_rows().await?;
    let case = |row, work| Case {
        row,
        work,
        cpu_us: Vec::new(),
        wall_us: Vec::new(),
    };
    let thousand = |entries| Work::List(1_000, entries);
    let mut cases: Vec<Case<'_>> = LISTS
        .into_iter()
        .map(|length| Work::List(length, Entries::Shown))
        .chain([thousand(Entries::Hidden), thousand(Entries::Nameless)])
        .chain([Work::Stream, Work::Body])
        .flat_map(|work| [case(&plain, work), case(&filtered, work)])
        .chain([case(&governed, Work::Body)])
        .collect();
    for case in &mut cases {
        case.round(plan.messages).await?;
        case.cpu_us.clear();
        case.wall_us.clear();
    }
    let after_start = filter::memory(&governed.envoy).await?;
    let mut after_half = after_start;
    for round in 0..plan.rounds {
        for case in &mut cases {
            case.round(plan.messages).await?;
        }
        if round == plan.rounds / 2 {
            after_half = filter::memory(&governed.envoy).await?;
        }
    }
    let memory = Memory {
        after_start,
        after_half,
        at_the_end: filter::memory(&governed.envoy).await?,
        requests: plan.messages * (plan.rounds as u64 + 1),
    };
    let find = |row: &Row, work| -> Result<&Case<'_>> {
        let mut all = cases.iter();
        let found = all.find(|case| case.row.name == row.name && case.work == work);
        found.context("no such case")
    };
    let added = |row, work| -> Result<Added> { Ok(added(find(&plain, work)?, find(row, work)?)) };
    let mut messages = Messages {
        event: added(&filtered, Work::Stream)?.divided(EVENTS),
        body_decided: added(&filtered, Work::Body)?,
        body_governed: added(&governed, Work::Body)?,
        body_memory: memory,
        ..Messages::default()
    };
    for length in LISTS {
        let added = added(&filtered, Work::List(length, Entries::Shown))?;
        messages.lists.insert(length, added);
    }
    let hidden = find(&filtered, thousand(Entries::Hidden))?;
    let nameless = find(&filtered, thousand(Entries::Nameless))?;
    messages.policy_per_entry_us = Spread::of(
        differences(&nameless.cpu_us, &hidden.cpu_us).map(|difference| difference / 1_000.0),
    );
    Ok(messages)
}

/// What the filter adds to the same work.
fn added(plain: &Case<'_>, with: &Case<'_>) -> Added {
    Added {
        plain_cpu_us: Spread::of(plain.cpu_us.iter().copied()),
        cpu_us: Spread::of(differences(&plain.cpu_us, &with.cpu_us)),
        wall_us: Spread::of(differences(&plain.wall_us, &with.wall_us)),
        cpu_over_plain: Spread::of(
            with.cpu_us
                .iter()
                .zip(&plain.cpu_us)
                .map(|(with, plain)| with / plain),
        ),
    }
}

fn differences(without: &[f64], with: &[f64]) -> impl Iterator<Item = f64> {
    with.iter()
        .zip(without)
        .map(|(with, without)| with - without)
}

impl Case<'_> {
    /// One round of this many requests.
    async fn round(&mut self, requests: u64) -> Result<()> {
        let address = self.row.envoy.listener();
        let token = self.row.callers.token(0)?;
        let mut connection = load::connect(address).await?;
        let pid = self.row.envoy.process().id();
        let mut wall = Duration::ZERO;
        let before = cpu::of(pid)?;
        for n in 0..requests {
            let request = self.work.request(address, token, n)?;
            let start = Instant::now();
            connection.ready().await?;
            let response = connection.send_request(request).await?;
            let status = response.status();
            let mut body = response.into_body();
            let mut bytes = 0;
            while let Some(frame) = body.frame().await {
                bytes += frame?.data_ref().map_or(0, Bytes::len);
                if self.work == Work::Stream {
                    backend::NEXT_EVENT.add_permits(1);
                }
            }
            wall += start.elapsed();
            ensure!(
                status.is_success() && bytes >= self.work.least(),
                "{:?} in row {} was answered {status} with {bytes} bytes",
                self.work,
                self.row.name
            );
        }
        let cpu = cpu::of(pid)?.saturating_sub(before);
        let each = |time: Duration| time.as_secs_f64() * 1e6 / requests as f64;
        self.cpu_us.push(each(cpu));
        self.wall_us.push(each(wall));
        Ok(())
    }
}

impl Work {
    fn request(self, address: SocketAddr, token: &str, n: u64) -> Result<Request<Full<Bytes>>> {
        match self {
            Self::List(length, entries) => {
                let request = load::request(address, token, "tools/list")
                    .header(backend::ENTRIES, length)
                    .header(backend::KIND, entries.as_str());
                let message = format!(
                    r#"{{"jsonrpc":"2.0","id":{n},"method":"tools/list","params":{{{META}}}}}"#
                );
                Ok(request.body(Full::from(message))?)
            }
            Self::Stream => Ok(load::request(address, token, "tools/call")
                .header("mcp-name", "tool_0")
                .header(backend::EVENTS, EVENTS)
                .body(Full::from(load::message("tool_0", n)))?),
            Self::Body => Ok(load::request(address, token, "tools/call")
                .header("mcp-name", "tool_0")
                .body(Full::from(large(n)))?),
        }
    }

    /// The fewest bytes that a good answer has.
    fn least(self) -> usize {
        match self {
            Self::List(length, Entries::Shown) => usize::try_from(length).unwrap_or(0) * 400,
            Self::Stream => usize::try_from(EVENTS).unwrap_or(0) * 50,
            Self::List(..) | Self::Body => 20,
        }
    }
}

const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

/// A call with arguments like a large upload of rows.
fn large(n: u64) -> String {
    let mut message = format!(
        r#"{{"jsonrpc":"2.0","id":{n},"method":"tools/call","params":{{{META},"name":"tool_0","arguments":{{"amount":1,"rows":[0"#
    );
    let mut row = 0;
    while message.len() < BODY_BYTES {
        row += 1;
        message += &format!(
            r#",{{"from":"operations-{row}","to":"payroll","amount":{row}.25,"memo":"the run of a \"day\", number {row}"}}"#
        );
    }
    message + "]}}}"
}
