//! The audit trail as a table: one line for each thing that happened, a call and its outcome together.

use std::time::Duration;

use anyhow::Result;
use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use serde_json::Value;
use writ_tests::deployment::Deployment;
use writ_tests::wait::until;

/// How long the filter may take to report what it has seen.
const LAST_REPORTS: Duration = Duration::from_secs(5);
/// Kinds of tries without a good token in the story.
const TURNED_AWAY: usize = 2;
/// The table's width where no terminal says it.
const WIDTH_OF_A_FILE: u16 = 160;

/// Prints what the token service has on record, once the last call's outcome is.
pub async fn print(demo: &Deployment) -> Result<()> {
    // Outcomes are reported after the fact; without the last ones the table would be a lie by haste.
    let complete = until("the outcomes of all calls", LAST_REPORTS, async || {
        let records = demo.service.audit().ok()?;
        let mut mints = records.iter().filter(|record| is(record, "mint"));
        let turned_away = records
            .iter()
            .filter(|record| is(record, "unauthenticated"))
            .count();
        let complete =
            mints.all(|mint| outcome_of(mint, &records).is_some()) && turned_away >= TURNED_AWAY;
        complete.then_some(())
    })
    .await;
    let records = demo.service.audit()?;
    anstream::println!("{}", table(&records));
    if let Err(error) = complete {
        anstream::println!("  (incomplete: {error})");
    }
    Ok(())
}

fn table(records: &[Value]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_BORDERS_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(["time", "who", "by", "what", "", "why, or how it went"].map(bold));
    if !table.is_tty() {
        table.set_width(WIDTH_OF_A_FILE);
    }
    let mut shown: Vec<&Value> = records
        .iter()
        .filter(|record| !is(record, "outcome"))
        .collect();
    // What gateways report in batches is recorded later than it happened.
    shown.sort_by_key(|record| happened(record).to_owned());
    for record in shown {
        let (mark, color) = verdict(record);
        table.add_row([
            Cell::new(clock(record)).add_attribute(Attribute::Dim),
            Cell::new(or_dash(text(record, "subject"))),
            Cell::new(or_dash(text(record, "agent"))),
            Cell::new(what(record)),
            Cell::new(mark).fg(color),
            Cell::new(how(record, records)),
        ]);
    }
    table
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "–" } else { text }
}

fn bold(text: &str) -> Cell {
    Cell::new(text).add_attribute(Attribute::Bold)
}

fn text<'a>(record: &'a Value, field: &str) -> &'a str {
    record
        .get(field)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn is(record: &Value, kind: &str) -> bool {
    text(record, "kind") == kind
}

/// When it happened, where that is not when it was recorded.
fn happened(record: &Value) -> &str {
    let at_the_gateway = detail(record, "gateway_time");
    if at_the_gateway.is_empty() {
        text(record, "time")
    } else {
        at_the_gateway
    }
}

/// `18:04:31.072` of an RFC 3339 time.
fn clock(record: &Value) -> String {
    let time = happened(record);
    let of_day = time.split_once('T').map_or(time, |(_, of_day)| of_day);
    of_day.trim_end_matches('Z').chars().take(12).collect()
}

fn what(record: &Value) -> String {
    let (server, method, target) = (
        text(record, "server"),
        text(record, "method"),
        text(record, "target"),
    );
    match text(record, "kind") {
        "admin" => format!("writ {method} {target}"),
        "registration" => "registers itself".to_owned(),
        "sign_in" => "signs in".to_owned(),
        "token_issued" => "gets a token".to_owned(),
        "rogue" if is_news(record) && target.is_empty() => "the first time".to_owned(),
        "rogue" if is_news(record) => format!("{server}: {target}, the first time"),
        "rogue" => format!("{server}, past the gateway"),
        "unauthenticated" => format!("{server}, without a good token"),
        _ if method == "tools/call" => format!("{server}: {target}"),
        _ => format!("{server}: {method}"),
    }
}

/// An agent or a tool that nobody has seen before.
fn is_news(record: &Value) -> bool {
    let found = record.pointer("/detail/finding").and_then(Value::as_str);
    matches!(found, Some("new_agent" | "new_tool"))
}

fn verdict(record: &Value) -> (&'static str, Color) {
    match (text(record, "kind"), text(record, "decision")) {
        ("rogue", _) if is_news(record) => ("new", Color::Cyan),
        ("rogue", _) => ("rogue", Color::Magenta),
        ("unauthenticated", _) => ("turned away", Color::Yellow),
        (_, "deny") => ("refused", Color::Red),
        ("mint" | "discovery_use", _) => ("allowed", Color::Green),
        _ => ("done", Color::Reset),
    }
}

fn how(record: &Value, records: &[Value]) -> String {
    let reason = text(record, "reason");
    match text(record, "kind") {
        "mint" => outcome_of(record, records).map_or_else(String::new, outcome_in_words),
        "discovery_use" => "on the discovery token it has".to_owned(),
        "token_issued" => detail(record, "grant").replace('_', " "),
        "unauthenticated" => {
            let times = record
                .pointer("/detail/count")
                .and_then(Value::as_u64)
                .unwrap_or(1);
            let kind = reason.replace('_', " ");
            if times > 1 {
                format!("{kind}, {times} times")
            } else {
                kind
            }
        }
        _ => reason.to_owned(),
    }
}

fn detail<'a>(record: &'a Value, field: &str) -> &'a str {
    record
        .get("detail")
        .map_or("", |detail| text(detail, field))
}

fn outcome_of<'a>(mint: &Value, records: &'a [Value]) -> Option<&'a Value> {
    let token = text(mint, "token_id");
    records
        .iter()
        .find(|record| is(record, "outcome") && text(record, "token_id") == token)
}

fn outcome_in_words(outcome: &Value) -> String {
    let detail = outcome.get("detail").cloned().unwrap_or_default();
    let result = text(&detail, "result").replace('_', " ");
    let status = detail
        .get("status")
        .map_or_else(String::new, |status| format!(" ({status})"));
    let took = detail.get("duration_us").and_then(Value::as_f64);
    let took = took.map_or_else(String::new, |us| format!(", {:.1} ms", us / 1e3));
    format!("{result}{status}{took}")
}
