//! Records as people read them.

use anstyle::{AnsiColor, Style};
use serde_json::Value;

use super::{CliError, Output, show::Carried};
use crate::{
    audit::{Kind, Opened, Record, Verdict, printable},
    store::audit::Entry,
};

/// All that there is of a record, and of what the call carried.
pub(super) fn whole(entry: &Entry, carried: &Carried, output: &mut Output) -> Result<(), CliError> {
    let record = serde_json::to_value(&entry.record)?;
    let place = match entry.leaf {
        Some(leaf) => leaf.to_string(),
        None => "not yet".to_owned(),
    };
    if output.is_json() {
        return output.json(&serde_json::json!({
            "record": record,
            "leaf": entry.leaf,
            "erased_by": entry.erased_by,
            "carried": match carried {
                Carried::Opened(opened) => Some(&opened.carried),
                Carried::Nothing | Carried::Closed => None,
            },
        }));
    }
    for (name, value) in record.as_object().into_iter().flatten() {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        output.line(&format!("{name:<17} {}", printable(&value)))?;
    }
    match carried {
        Carried::Nothing => {}
        Carried::Closed => {
            let told = "encrypted: it is shown with the installation's keys.encryption_key_file";
            output.line(&format!("{:<17} {told}", "carried"))?;
        }
        Carried::Opened(Opened { keep, carried }) => {
            let carried = printable(&carried.to_string());
            output.line(&format!("{:<17} {carried} ({})", "carried", keep.as_str()))?;
        }
    }
    output.line(&format!("{:<17} {place}", "in the log at"))?;
    match &entry.erased_by {
        Some(erasure) => output.line(&format!("{:<17} {erasure}", "erased by")),
        None => Ok(()),
    }
}

const HEADER: [&str; 9] = [
    "TIME (UTC)",
    "WHAT",
    "WHO",
    "AGENT",
    "SERVER",
    "CALL",
    "DECISION",
    "WHY",
    "ID",
];

pub(super) fn table(entries: &[Entry], output: &mut Output) -> Result<(), CliError> {
    output.table(entries, HEADER, |e| columns(&e.record))
}

/// A record on one line; a refusal stands out on a terminal.
pub(super) fn line(record: &Record) -> String {
    let colour = match (record.kind, record.decision) {
        (Kind::Rogue, _) => Some(AnsiColor::Magenta),
        (_, Some(Verdict::Deny)) => Some(AnsiColor::Red),
        (Kind::Mint, _) => Some(AnsiColor::Green),
        _ => None,
    };
    let style = Style::new().fg_color(colour.map(Into::into));
    let [time, what, rest @ ..] = columns(record);
    let rest: Vec<String> = rest
        .iter()
        .filter(|c| !c.is_empty())
        .map(|c| printable(c))
        .collect();
    format!("{time}  {style}{what:<15}{style:#}  {}", rest.join("  "))
}

fn columns(record: &Record) -> [String; 9] {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    // 2026-11-23T18:00:00.123456Z -> 2026-11-23 18:00:00.123
    let time = record
        .time
        .get(..23)
        .unwrap_or(&record.time)
        .replacen('T', " ", 1);
    let call = [record.method.as_deref(), record.target.as_deref()];
    let decision = match record.decision {
        Some(Verdict::Allow) => "allow",
        Some(Verdict::Deny) => "deny",
        None => "",
    };
    [
        time,
        record.kind.as_str().to_owned(),
        text(&record.subject),
        text(&record.agent),
        text(&record.server),
        call.into_iter().flatten().collect::<Vec<_>>().join(" "),
        decision.to_owned(),
        why(record),
        record.id.clone(),
    ]
}

/// The reason, and what the kind has to say about itself.
fn why(record: &Record) -> String {
    let detail = |name: &str| record.detail.as_ref().and_then(|d| d.get(name));
    let mut parts: Vec<String> = record.reason.iter().cloned().collect();
    match record.kind {
        Kind::Outcome => {
            parts.extend(detail("result").and_then(Value::as_str).map(str::to_owned));
            parts.extend(
                detail("status")
                    .and_then(Value::as_u64)
                    .map(|s| format!("HTTP {s}")),
            );
            parts.extend(detail("duration_us").and_then(Value::as_u64).map(duration));
            parts.extend(detail("masked").and_then(Value::as_object).map(masked));
        }
        Kind::Unauthenticated => {
            parts.extend(record.source_ip.iter().map(|ip| format!("from {ip}")));
            parts.extend(
                detail("count")
                    .and_then(Value::as_u64)
                    .map(|n| format!("{n} times")),
            );
            parts.extend(detail("begins_with").map(|_| "and no more".to_owned()));
        }
        Kind::Rogue => {
            let word = |name: &str| detail(name).and_then(Value::as_str);
            let place = [word("host"), word("path")].into_iter().flatten();
            let place = place.collect::<String>();
            parts.extend((!place.is_empty()).then_some(place));
            parts.extend(
                detail("issuer")
                    .and_then(Value::as_str)
                    .map(|issuer| format!("issuer {issuer}")),
            );
            parts.extend(record.source_ip.iter().map(|ip| format!("from {ip}")));
            parts.extend(
                detail("count")
                    .and_then(Value::as_u64)
                    .filter(|n| *n > 1)
                    .map(|n| format!("{n} times")),
            );
        }
        _ => {}
    }
    parts.join(", ")
}

/// `2 card_number, 1 secret masked`
fn masked(counts: &serde_json::Map<String, Value>) -> String {
    let counts: Vec<_> = counts
        .iter()
        .map(|(kind, n)| format!("{n} {kind}"))
        .collect();
    format!("{} masked", counts.join(", "))
}

fn duration(micros: u64) -> String {
    format!("{}.{} ms", micros / 1000, micros % 1000 / 100)
}
