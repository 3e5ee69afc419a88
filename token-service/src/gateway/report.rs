//! A gateway's events as records: bounded, under this service's clock, each with a key that tells it again.

use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::json;
use sha2::{Digest, Sha256};
use writ_policy::Value;
use writ_policy::decision::DenialCause;
use writ_policy::event::{
    Call, Denied, DiscoveryUse, Event, EventBatch, Outcome, PinChanged, Rogue, Unauthenticated,
};
use writ_policy::kept::{self, Carried, KeptInput};

use super::{Asker, shadow};
use crate::{
    app::App,
    audit::{Beside, Finding, Kind, Record, Verdict, clip, printable},
    clock::unix,
    registry::{Gateway, Registry},
    store::{
        reported::{EventKey, Report, Reported},
        tally::Tried,
    },
};

/// So many kinds of masked things are kept of one call; the filter knows four.
const MASKED_KINDS: usize = 16;

/// So many of a kind are believed in one event.
pub(super) const MOST_AT_ONCE: u64 = 1_000_000_000;

/// How far back a gateway's clock is believed for counted tries.
const BELIEVED_S: i64 = 3600;

pub(super) fn of(
    asker: &Asker,
    batch: &EventBatch,
    app: &App,
    registry: &Registry,
    now: Timestamp,
) -> Result<Report, serde_json::Error> {
    let (inputs, shadow) = (&app.config.policy_inputs, app.shadow());
    let (gateway, name) = (asker.as_gateway(), asker.name());
    let mut report = Report {
        now: unix(now),
        ..Report::default()
    };
    let mut times_seen: HashMap<EventKey, u32> = HashMap::new();
    for event in &batch.events {
        let first_key = key(&name, event, 0)?;
        let seen = times_seen.entry(first_key).or_default();
        let key = match *seen {
            0 => first_key,
            before => key(&name, event, before)?,
        };
        *seen += 1;
        let reported = match event {
            Event::Unauthenticated(tries) => Reported::Tried(tried(gateway, &name, tries, now)),
            Event::Denied(denied) => {
                let mut record = by(&name, of_denied(denied, now));
                let input = denied.input.as_ref();
                let (server, agent) = (denied.call.server.as_str(), denied.call.agent.as_str());
                if is_policys(denied)
                    && let Some(shadow) = &shadow
                    && let Some(otherwise) = shadow.ask_reported(server, agent, input)
                {
                    record.note("shadow", otherwise);
                }
                let mut beside = Box::new(Beside {
                    input: input.and_then(|input| inputs.of_report(input, server)),
                    carried: None,
                });
                let carried = input.and_then(|input| carried(input, server));
                app.arguments
                    .keep(&mut record, &mut beside, carried.as_ref());
                Reported::Decision(record, beside)
            }
            Event::DiscoveryUse(used) => Reported::Record(by(&name, of_discovery_use(used, now))),
            Event::Outcome(outcome) => Reported::Record(by(&name, of_outcome(outcome, now))),
            Event::Rogue(rogue) => Reported::Rogue(Box::new(of_rogue(&name, rogue, now))),
            Event::ShadowServer(seen) => match shadow::reported(&name, seen, registry, now) {
                Some(reported) => reported,
                None => continue,
            },
            Event::PinChanged(changed) => Reported::Record(by(&name, of_pin_changed(changed, now))),
        };
        report.events.push((Some(key), reported));
    }
    Ok(report)
}

/// The same for the same event sent again; another for two alike in one batch.
fn key(name: &str, event: &Event, before: u32) -> Result<EventKey, serde_json::Error> {
    let mut hash = Sha256::new();
    hash.update(name);
    hash.update([0]);
    hash.update(before.to_be_bytes());
    hash.update(serde_json::to_vec(event)?);
    let digest: [u8; 32] = hash.finalize().into();
    Ok(EventKey(digest.first_chunk().copied().unwrap_or_default()))
}

fn by(name: &str, mut record: Record) -> Box<Record> {
    record.gateway = Some(name.to_owned());
    Box::new(record)
}

/// What a call to `server` carried that a gateway denied, where it says all of it.
fn carried(input: &KeptInput, server: &str) -> Option<Value> {
    let whole = input.reported(server, Carried::Kept)?;
    let whole = whole.lacks.is_none().then(|| whole.value()).flatten()?;
    kept::carried(&whole)
}

/// Whether a policy said no, and nothing before it.
fn is_policys(denied: &Denied) -> bool {
    denied.cause == DenialCause::Policy || denied.cause.is_failure()
}

fn of_denied(denied: &Denied, now: Timestamp) -> Record {
    let mut record = of_call(Kind::Denied, &denied.call, now);
    record.decision = Some(Verdict::Deny);
    record.reason = Some(clip(&denied.reason, 1024));
    record.gateway_policy = Some(clip(&denied.policy_revision, 64));
    record.content_digest = denied.content_digest.as_deref().map(|d| clip(d, 128));
    record.detail =
        Some(json!({"cause": denied.cause, "gateway_time": clip(&denied.call.time, 40)}));
    record.of_trace(trace(denied.call.trace.as_deref()));
    record.of_session(denied.call.session.as_deref());
    record
}

fn of_discovery_use(used: &DiscoveryUse, now: Timestamp) -> Record {
    let mut record = of_call(Kind::DiscoveryUse, &used.call, now);
    record.decision = Some(Verdict::Allow);
    record.gateway_policy = Some(clip(&used.policy_revision, 64));
    record.token_id = Some(clip(&used.token_id, 64));
    record.detail = Some(json!({"gateway_time": clip(&used.call.time, 40)}));
    record.of_trace(trace(used.call.trace.as_deref()));
    record.of_session(used.call.session.as_deref());
    record
}

/// Whose call it was is in the record of its token; the store adds it.
fn of_outcome(outcome: &Outcome, now: Timestamp) -> Record {
    let mut record = Record::new(Kind::Outcome, now);
    record.token_id = Some(clip(&outcome.token_id, 64));
    record.request_id = Some(clip(&outcome.request_id, 128));
    record.result_digest = outcome.result_digest.as_deref().map(|d| clip(d, 128));
    record.reason = outcome.reason.as_deref().map(|r| clip(r, 1024));
    let mut detail = json!({
        "status": outcome.status,
        "result": outcome.result,
        "duration_us": outcome.duration_us,
        "request_bytes": outcome.request_bytes,
        "response_bytes": outcome.response_bytes,
        "gateway_time": clip(&outcome.time, 40),
    });
    if !outcome.masked.is_empty()
        && let Some(detail) = detail.as_object_mut()
    {
        let masked = outcome.masked.iter().take(MASKED_KINDS);
        let masked = masked.map(|(kind, count)| (clip(kind, 32), (*count).into()));
        detail.insert(
            "masked".to_owned(),
            serde_json::Value::Object(masked.collect()),
        );
    }
    record.detail = Some(detail);
    record.of_trace(trace(outcome.trace.as_deref()));
    record.of_session(outcome.session.as_deref());
    record
}

/// The id of a trace, where it is one.
fn trace(id: Option<&str>) -> Option<String> {
    let is_one =
        |id: &&str| id.len() == 32 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    id.filter(is_one).map(str::to_owned)
}

/// A guard believes nobody.
fn of_rogue(name: &str, rogue: &Rogue, now: Timestamp) -> Record {
    let finding = Finding::of(rogue.credential);
    let count = rogue.count.clamp(1, MOST_AT_ONCE);
    finding.count(Some(rogue.credential), count);
    let mut record = finding.record(now);
    record.gateway = Some(name.to_owned());
    record.server = Some(rogue.server.clone());
    record.decision = Some(Verdict::Deny);
    record.reason = Some(clip(&rogue.reason, 1024));
    record.source_ip = Some(clip(&rogue.source_ip, 64));
    record.request_id = Some(clip(&rogue.request_id, 128));
    record.subject = rogue.subject.as_deref().map(|s| clip(s, 512));
    record.agent = rogue.agent.as_deref().map(|a| clip(a, 512));
    record.token_id = rogue.token_id.as_deref().map(|id| clip(id, 128));
    let issuer = rogue.issuer.as_deref();
    record.detail = Some(json!({
        "finding": finding.as_str(),
        "credential": rogue.credential,
        "issuer": issuer.map(|issuer| printable(&clip(issuer, 256))),
        "count": count,
        "first": clip(&rogue.first, 40),
        "last": clip(&rogue.last, 40),
    }));
    record
}

fn of_pin_changed(changed: &PinChanged, now: Timestamp) -> Record {
    let mut record = Record::new(Kind::PinChanged, now);
    record.server = Some(changed.server.clone());
    record.method = Some("tools/list".to_owned());
    record.target = Some(clip(&changed.tool, 2048));
    record.decision = Some(Verdict::Deny);
    record.reason = Some("the tool is not defined as it was approved".to_owned());
    record.request_id = Some(clip(&changed.request_id, 128));
    record.detail = Some(json!({
        "pinned": clip(&changed.pinned, 64),
        "shown": clip(&changed.shown, 64),
        "gateway_time": clip(&changed.time, 40),
    }));
    record
}

fn of_call(kind: Kind, call: &Call, now: Timestamp) -> Record {
    let mut record = Record::new(kind, now);
    record.request_id = Some(clip(&call.request_id, 128));
    record.server = Some(clip(&call.server, 64));
    record.method = Some(clip(&call.method, 128));
    record.target = call.target.as_deref().map(|t| clip(t, 2048));
    record.source_ip = call.source_ip.as_deref().map(|ip| clip(ip, 64));
    record.subject = Some(clip(&call.subject, 256));
    record.agent = Some(clip(&call.agent, 256));
    record.subject_token_id = call.subject_token_id.as_deref().map(|id| clip(id, 64));
    record
}

fn tried(gateway: &Gateway, name: &str, tries: &Unauthenticated, now: Timestamp) -> Tried {
    let word = |k: &str| {
        (1..=32).contains(&k.len()) && k.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
    };
    let (first, last) = (believed(&tries.first, now), believed(&tries.last, now));
    Tried {
        kind: if word(&tries.kind) {
            tries.kind.clone()
        } else {
            "other".to_owned()
        },
        source_ip: clip(&tries.source_ip, 64),
        server: match gateway.is_for(&tries.server) {
            true => tries.server.clone(),
            false => String::new(),
        },
        gateway: Some(name.to_owned()),
        first: first.min(last),
        last,
        count: tries.count.clamp(1, MOST_AT_ONCE),
    }
}

/// A time by the gateway's clock, as far as that is believed.
pub(super) fn believed(text: &str, now: Timestamp) -> Timestamp {
    let earliest =
        Timestamp::from_second(now.as_second().saturating_sub(BELIEVED_S)).unwrap_or(now);
    let time = text.parse::<Timestamp>().unwrap_or(now);
    time.clamp(earliest, now)
}
