//! Names that look like another, and members that are called like what they are not.

use super::{Case, Fate, OPEN, message, stateless};
use serde_json::json;

pub fn cases() -> Vec<Case> {
    [look_alikes(), spellings(), members()]
        .into_iter()
        .flatten()
        .collect()
}

/// A call of this name, in the header too, in the form that any text can take there.
fn call(name: &str, fate: Fate) -> Case {
    use base64::{Engine, prelude::BASE64_STANDARD};
    let body = message(name, &json!({})).to_string();
    let header = format!("=?base64?{}?=", BASE64_STANDARD.encode(name));
    Case {
        post: stateless().header("mcp-name", header).body(body.clone()),
        ..Case::body(&format!("the name {name:?}"), body, fate)
    }
}

/// Not the open tool, to the policy and to everybody.
fn look_alikes() -> Vec<Case> {
    [
        "ech\u{43e}",
        "\u{435}cho",
        "ＥＣＨＯ",
        "ｅｃｈｏ",
        "ECHO",
        "Echo",
        "echo ",
        " echo",
        "echo\n",
        "echo\0",
        "echo\0secret",
        "ec\u{200b}ho",
        "echo\u{200d}",
        "\u{feff}echo",
        "e\u{301}cho",
        "\u{202e}ohce",
        "ech\u{1d428}",
        "echo\u{fe0f}",
        "secret",
        "secre\u{74}\u{323}",
        "echo/../secret",
        "echo;secret",
        "\"echo\"",
    ]
    .map(|name| call(name, Fate::Refused))
    .into()
}

/// The open tool, however it is written.
fn spellings() -> Vec<Case> {
    let written = |text: &str| {
        message("mark", &json!({}))
            .to_string()
            .replace("\"mark\"", text)
    };
    let mut cases = vec![call(OPEN, Fate::Heard)];
    cases.extend(
        [
            r#""\u0065cho""#,
            r#""ech\u006F""#,
            r#""\u0065\u0063\u0068\u006f""#,
        ]
        .map(|text| {
            Case::body(
                &format!("the open tool as {text}"),
                written(text),
                Fate::Heard,
            )
        }),
    );
    cases.extend(
        [r#"["echo"]"#, r#"{"echo":1}"#, "null", "7", "true", r#""""#]
            .map(|text| Case::body(&format!("{text} for a name"), written(text), Fate::Refused)),
    );
    cases
}

/// Members beside those that count: whoever reads keys without their case, or another one, is fooled.
fn members() -> Vec<Case> {
    let with = |level: &str, name: &str, value: serde_json::Value| {
        let mut whole = message(OPEN, &json!({}));
        let at = if level.is_empty() {
            &mut whole
        } else {
            &mut whole[level]
        };
        at[name] = value;
        Case::body(&format!("{level}.{name}"), whole.to_string(), Fate::Either)
    };
    let secret = || json!("secret");
    vec![
        with("params", "Name", secret()),
        with("params", "NAME", secret()),
        with("params", "tool", secret()),
        with("params", "toolName", secret()),
        with("params", "n\u{430}me", secret()),
        with("params", "name ", secret()),
        with("params", "\u{feff}name", secret()),
        with("params", "Arguments", json!({ "secret": 1 })),
        with("params", "args", json!({ "secret": 1 })),
        with("params", "input", json!({ "secret": 1 })),
        with("", "Method", json!("tools/list")),
        with("", "METHOD", json!("tools/list")),
        with("", "Params", json!({ "name": "secret", "arguments": {} })),
    ]
}
