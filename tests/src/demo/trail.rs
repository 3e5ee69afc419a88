//! The audit trail as a table: one line for each thing that happened, a call and its outcome together.

use anyhow::Result;
use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use serde_json::Value;
use writ_tests::deployment::Deployment;
use writ_tests::wait::{PATIENCE, until};

/// Prints what the token service has on record, once the last call's outcome is.
pub async fn print(demo: &Deployment) -> Result<()> {
    // Outcomes are reported after the fact; without the last ones the table would be a lie by haste.
    let complete = until("the outcomes of all calls", PATIENCE, async || {
        let records = demo.service.audit().ok()?;
        let mints: Vec<&Value> = records.iter().filter(|record| is(record, "mint")).collect();
        mints.iter().all(|mint| outcome_of(mint, &records).is_some()).then_some(())
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
    for record in records.iter().filter(|record| !is(record, "outcome")) {
        let (mark, color) = verdict(record);
        table.add_row([
            Cell::new(clock(record)).add_attribute(Attribute::Dim),
            Cell::new(text(record, "subject")),
            Cell::new(text(record, "agent")),
            Cell::new(what(record)),
            Cell::new(mark).fg(color),
            Cell::new(how(record, records)),
        ]);
    }
    table
}

fn bold(text: &str) -> Cell {
    Cell::new(text).add_attribute(Attribute::Bold)
}

fn text<'a>(record: &'a Value, field: &str) -> &'a str {
    record.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn is(record: &Value, kind: &str) -> bool {
    text(record, "kind") == kind
}

/// `18:04:31.072` of an RFC 3339 time.
fn clock(record: &Value) -> String {
    let time = text(record, "time");
    let of_day = time.split_once('T').map_or(time, |(_, of_day)| of_day);
    of_day.trim_end_matches('Z').chars().take(12).collect()
}

fn what(record: &Value) -> String {
    let (method, target) = (text(record, "method"), text(record, "target"));
    match text(record, "kind") {
        "admin" => format!("{method} {target}"),
        "sign_in" => "signs in".to_owned(),
        "token_issued" => "gets a token".to_owned(),
        "rogue" => format!("a credential at {}", text(record, "server")),
        "unauthenticated" => "a try without identity".to_owned(),
        _ if method == "tools/call" => format!("{} {target}", text(record, "server")),
        _ => format!("{} {method}", text(record, "server")),
    }
}

fn verdict(record: &Value) -> (&'static str, Color) {
    match (text(record, "kind"), text(record, "decision")) {
        ("rogue", _) => ("rogue", Color::Magenta),
        ("unauthenticated", _) => ("turned away", Color::Yellow),
        (_, "deny") => ("refused", Color::Red),
        ("mint", _) => ("allowed", Color::Green),
        (_, "allow") => ("ok", Color::Green),
        _ => ("", Color::Reset),
    }
}

fn how(record: &Value, records: &[Value]) -> String {
    if is(record, "mint")
        && let Some(outcome) = outcome_of(record, records)
    {
        return outcome_in_words(outcome);
    }
    let reason = text(record, "reason");
    if !reason.is_empty() {
        return reason.to_owned();
    }
    match record.get("detail") {
        Some(Value::Object(detail)) => detail
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
            .collect::<Vec<_>>()
            .join(", "),
        _ => String::new(),
    }
}

fn outcome_of<'a>(mint: &Value, records: &'a [Value]) -> Option<&'a Value> {
    let token = text(mint, "token_id");
    records.iter().find(|record| is(record, "outcome") && text(record, "token_id") == token)
}

fn outcome_in_words(outcome: &Value) -> String {
    let detail = outcome.get("detail").cloned().unwrap_or_default();
    let result = text(&detail, "result").replace('_', " ");
    let status = detail.get("status").map_or_else(String::new, |status| format!(" ({status})"));
    let took = detail.get("duration_us").and_then(Value::as_f64);
    let took = took.map_or_else(String::new, |us| format!(", {:.1} ms", us / 1e3));
    format!("{result}{status}{took}")
}
